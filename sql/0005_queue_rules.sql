-- Queues send callers on: a call may stay in several queues, each stay has its own end, and the
-- agent says what came of the call.

ALTER TABLE calls ADD COLUMN disposition text NOT NULL DEFAULT '';
COMMENT ON COLUMN calls.disposition IS 'What the agent said came of it: one of the queue''s codes';
ALTER TABLE calls DROP CONSTRAINT calls_outcome;
ALTER TABLE calls ADD CONSTRAINT calls_outcome CHECK
    (outcome IN ('answered', 'abandoned', 'left_in_flow', 'system', 'fallback', 'rejected', 'overflowed',
                 'timed_out'));
COMMENT ON COLUMN calls.outcome IS 'answered: talked to an agent; abandoned: hung up while waiting; left_in_flow: '
    'hung up in the menu; system: ended by the system; fallback: left to the dialplan''s static fallback; '
    'rejected: no flow for the number; overflowed, timed_out: a queue''s rules led out of the centre';

CREATE TABLE visits (
    node      text   NOT NULL,
    call      text   NOT NULL,
    seq       bigint NOT NULL,
    queue     text   NOT NULL,
    from_ns   bigint NOT NULL,
    fate      text   NOT NULL,
    reason    text   NOT NULL,
    to_ns     bigint,
    waited_ns bigint,
    PRIMARY KEY (node, call, seq),
    CONSTRAINT visits_fate CHECK
        (fate IN ('waiting', 'answered', 'abandoned', 'overflowed', 'timed_out', 'lost')),
    CONSTRAINT visits_over CHECK
        ((fate = 'waiting') = (to_ns IS NULL) AND (fate = 'waiting') = (waited_ns IS NULL)),
    CONSTRAINT visits_in_time CHECK (to_ns >= from_ns)
);
COMMENT ON TABLE visits IS 'A call''s stays in queues; offered = answered + abandoned + overflowed + timed_out + lost + waiting';
COMMENT ON COLUMN visits.seq IS 'events.ordinal of the event that began it';
COMMENT ON COLUMN visits.reason IS 'Of overflowed: full, no_agents, closed, holiday or crisis; of lost: the call''s outcome';
CREATE INDEX visits_by_queue ON visits (queue, from_ns);
CREATE UNIQUE INDEX visits_one_open_a_call ON visits (node, call) WHERE to_ns IS NULL;

-- Every stay in a queue is in exactly one of: answered, abandoned, overflowed, timed_out, lost, waiting.
CREATE OR REPLACE VIEW queue_calls AS
SELECT c.node, c.call, v.queue, coalesce(nullif(q.name, ''), v.queue) AS name, v.from_ns AS entered_ns,
       v.waited_ns,
       CASE WHEN v.fate = 'answered' THEN c.talk_ns ELSE 0 END AS talk_ns,
       CASE WHEN v.fate = 'answered' THEN c.hold_ns ELSE 0 END AS hold_ns,
       CASE WHEN v.fate = 'answered' THEN c.wrap_up_ns ELSE 0 END AS wrap_up_ns,
       v.fate,
       coalesce(v.fate = 'abandoned' AND v.waited_ns < q.short_abandon_ns, false) AS short,
       coalesce(v.waited_ns <= q.service_level_ns, false) AS within,
       v.to_ns IS NOT NULL AS left_queue,
       v.reason
FROM visits v
JOIN calls c ON c.node = v.node AND c.call = v.call
LEFT JOIN queues q ON q.node = v.node AND q.queue = v.queue;
COMMENT ON VIEW queue_calls IS 'The calls behind every figure of a queue, with their fate there';
