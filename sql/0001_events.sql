-- The events as the engine committed them, copied from the journal by the shipper, exactly once.

CREATE TABLE events (
    node      text        NOT NULL,
    epoch     text        NOT NULL,
    seq       bigint      NOT NULL,
    ordinal   bigint      NOT NULL,
    at        timestamptz NOT NULL,
    at_ns     bigint      NOT NULL,
    input_seq bigint      NOT NULL,
    kind      text        NOT NULL,
    version   smallint    NOT NULL,
    call_id   text        NOT NULL,
    agent     text        NOT NULL,
    queue     text        NOT NULL,
    body      jsonb       NOT NULL,
    PRIMARY KEY (node, epoch, seq),
    CONSTRAINT events_in_order UNIQUE (node, ordinal)
);
COMMENT ON TABLE events IS 'Facts decided by the engine; never changed, never deleted one by one';
COMMENT ON COLUMN events.node IS 'The journal this came from: one id for as long as its file lives';
COMMENT ON COLUMN events.epoch IS 'The run of the engine; new at every start';
COMMENT ON COLUMN events.seq IS 'Number in the journal; repeats under a new epoch if a power cut took the journal''s end';
COMMENT ON COLUMN events.ordinal IS 'Order of a node''s events, without repetition: what the ledger follows';
COMMENT ON COLUMN events.at_ns IS 'Nanoseconds UTC; "at" is the same instant, rounded down to microseconds';
COMMENT ON COLUMN events.input_seq IS 'Number of the first event that the same input caused';
COMMENT ON COLUMN events.call_id IS 'Empty for events of no call';

CREATE INDEX events_of_call ON events (call_id, ordinal) WHERE call_id <> '';

-- Who called. The only place of numbers and names, so that they can be erased.
CREATE TABLE people (
    node    text   NOT NULL,
    call_id text   NOT NULL,
    number  text   NOT NULL,
    name    text   NOT NULL,
    change  bigint NOT NULL,
    PRIMARY KEY (node, call_id)
);
COMMENT ON TABLE people IS 'Number and name of each caller, as they came; blank once erased';

-- How far a node's journal has been copied; moved on by compare-and-set with the rows themselves.
CREATE TABLE marks (
    node    text   NOT NULL PRIMARY KEY,
    epoch   text   NOT NULL,
    seq     bigint NOT NULL,
    ordinal bigint NOT NULL,
    people  bigint NOT NULL
);
COMMENT ON TABLE marks IS 'The last event and the last change of people copied from each node';
