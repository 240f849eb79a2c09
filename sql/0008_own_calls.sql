-- What agents' phones dial by themselves, and who calls them directly: seen, counted, and open to a look.

CREATE TABLE own_calls (
    node        text    NOT NULL,
    call        text    NOT NULL,
    agent       text    NOT NULL,
    direction   text    NOT NULL,
    kind        text    NOT NULL,
    began_ns    bigint  NOT NULL,
    answered_ns bigint,
    ended_ns    bigint,
    cause       integer NOT NULL,
    unseen      boolean NOT NULL,
    CONSTRAINT own_calls_pkey PRIMARY KEY (node, call),
    CONSTRAINT own_calls_direction CHECK (direction IN ('in', 'out')),
    CONSTRAINT own_calls_kind CHECK (kind IN ('', 'inside', 'outside', 'emergency')),
    CONSTRAINT own_calls_in_time CHECK (ended_ns >= began_ns AND ended_ns >= answered_ns)
);
CREATE INDEX own_calls_by_start ON own_calls (began_ns);
COMMENT ON TABLE own_calls IS 'Calls that agents'' phones made or got by themselves; the other side''s number is in people';
COMMENT ON COLUMN own_calls.kind IS 'What was dialled; empty for a call that came in';
COMMENT ON COLUMN own_calls.unseen IS 'The end is when it was found out: nobody watched when it came';

CREATE VIEW own_call_list AS
SELECT o.node, o.call, o.agent, o.direction, o.kind, o.began_ns, instant(o.began_ns) AS began_at,
       instant(o.answered_ns) AS answered_at, instant(o.ended_ns) AS ended_at, p.number AS other_number,
       (o.ended_ns - o.answered_ns) / 1e9 AS talk_s, o.cause, o.unseen
FROM own_calls o LEFT JOIN people p ON p.node = o.node AND p.call_id = o.call;
COMMENT ON VIEW own_call_list IS 'One row an agent''s own call, with the number of the other side';
