-- A queue's rules may send a caller on to a number outside: they talked there, and who hung up there.

ALTER TABLE calls DROP CONSTRAINT calls_outcome;
ALTER TABLE calls ADD CONSTRAINT calls_outcome CHECK
    (outcome IN ('answered', 'abandoned', 'left_in_flow', 'system', 'fallback', 'rejected', 'overflowed',
                 'timed_out', 'forwarded'));
ALTER TABLE calls DROP CONSTRAINT calls_ended_by;
ALTER TABLE calls ADD CONSTRAINT calls_ended_by CHECK (ended_by IN ('caller', 'agent', 'system', 'outside'));
COMMENT ON COLUMN calls.outcome IS 'answered: talked to an agent; abandoned: hung up while waiting; left_in_flow: hung up in the menu; system: ended by the system; fallback: left to the dialplan''s static fallback; rejected: no flow for the number; overflowed, timed_out: a queue''s rules led out of the centre; forwarded: talked at a number outside';
COMMENT ON COLUMN calls.ended_by IS 'outside: whoever the caller talked with at a number outside';
