-- A queue's rules may take a message: the call's outcome says so, its recording has the caller's track only.

ALTER TABLE calls DROP CONSTRAINT calls_outcome;
ALTER TABLE calls ADD CONSTRAINT calls_outcome CHECK
    (outcome IN ('answered', 'abandoned', 'left_in_flow', 'system', 'fallback', 'rejected', 'overflowed',
                 'timed_out', 'forwarded', 'voicemail'));
COMMENT ON COLUMN calls.outcome IS 'answered: talked to an agent; abandoned: hung up while waiting; left_in_flow: hung up in the menu; system: ended by the system; fallback: left to the dialplan''s static fallback; rejected: no flow for the number; overflowed, timed_out: a queue''s rules led out of the centre; forwarded: talked at a number outside; voicemail: left a message';
CREATE VIEW voicemails AS
    SELECT r.node, r.call, c.queue, instant(r.started_ns) AS left_at, p.number AS caller_number,
           p.name AS caller_name, r.duration_ns / 1e9 AS seconds, r.state, r.file, r.error, r.started_ns
    FROM recordings r
    JOIN calls c ON c.node = r.node AND c.call = r.call AND c.outcome = 'voicemail'
    LEFT JOIN people p ON p.node = r.node AND p.call_id = r.call
    WHERE r.recording LIKE '%.message.%';
COMMENT ON VIEW voicemails IS 'Messages that callers have left: when, in which queue, how long, in which file of the recordings';
