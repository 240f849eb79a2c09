-- What people read: timestamps and seconds. Thresholds come from the newest definition at the time of reading.

CREATE FUNCTION instant(ns bigint) RETURNS timestamptz
    LANGUAGE sql STABLE STRICT PARALLEL SAFE
    RETURN timestamptz '1970-01-01 00:00:00+00' + (ns / 1000) * interval '1 microsecond';
COMMENT ON FUNCTION instant IS 'Nanoseconds UTC as a timestamp, rounded down to microseconds';

CREATE VIEW call_list AS
SELECT c.node, c.call,
       instant(c.opened_ns) AS opened_at,
       p.number AS caller_number, p.name AS caller_name,
       c.number, c.flow, c.choice, c.queue, c.agent,
       instant(c.entered_ns) AS entered_at, instant(c.answered_ns) AS answered_at,
       instant(c.ended_ns) AS ended_at,
       c.waited_ns / 1e9 AS waited_s, c.talk_ns / 1e9 AS talk_s, c.hold_ns / 1e9 AS hold_s,
       c.wrap_up_ns / 1e9 AS wrap_up_s,
       c.outcome, c.ended_by, c.cause, c.offers, c.misses, c.adopted, c.quarantined,
       coalesce(c.outcome = 'abandoned' AND c.entered_ns IS NOT NULL AND c.waited_ns < q.short_abandon_ns,
                false) AS short,
       c.opened_ns, c.entered_ns
FROM calls c
LEFT JOIN people p ON p.node = c.node AND p.call_id = c.call
LEFT JOIN queues q ON q.node = c.node AND q.queue = c.queue;
COMMENT ON VIEW call_list IS 'One row a call, with the caller, and whether the abandon was a short one';

-- Every call that entered a queue is in exactly one of: answered, abandoned, lost, waiting.
CREATE VIEW queue_calls AS
SELECT c.node, c.call, c.queue, coalesce(nullif(q.name, ''), c.queue) AS name, c.entered_ns,
       c.waited_ns, c.talk_ns, c.hold_ns, c.wrap_up_ns,
       CASE WHEN c.answered_ns IS NOT NULL THEN 'answered'
            WHEN c.ended_ns IS NULL THEN 'waiting'
            WHEN c.outcome = 'abandoned' THEN 'abandoned'
            ELSE 'lost' END AS fate,
       coalesce(c.answered_ns IS NULL AND c.outcome = 'abandoned' AND c.waited_ns < q.short_abandon_ns,
                false) AS short,
       coalesce(c.waited_ns <= q.service_level_ns, false) AS within,
       c.ended_ns IS NOT NULL OR c.answered_ns IS NOT NULL AS left_queue
FROM calls c
LEFT JOIN queues q ON q.node = c.node AND q.queue = c.queue
WHERE c.entered_ns IS NOT NULL;
COMMENT ON VIEW queue_calls IS 'The calls behind every figure of a queue, with their fate';

CREATE VIEW agent_times AS
SELECT node, agent, seq, state, reason, call, instant(from_ns) AS from_at, instant(to_ns) AS to_at,
       (to_ns - from_ns) / 1e9 AS seconds, from_ns, to_ns
FROM agent_intervals;
COMMENT ON VIEW agent_times IS 'Agents'' intervals; to_at is null for the present one';
