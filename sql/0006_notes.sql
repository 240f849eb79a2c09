-- What an agent noted of a call is personal data: it is kept, and erased, with the caller's row.

ALTER TABLE people ADD COLUMN note text NOT NULL DEFAULT '';
COMMENT ON TABLE people IS 'Number and name of each caller, as they came, and the agent''s note; blank once erased';
