-- The ledger: a projection of the events (ari_app/core/ledger.py), which can be rebuilt from them.
-- Instants are nanoseconds UTC (_ns), durations too; the views show them as timestamps and seconds.

CREATE TABLE ledger_marks (
    node          text   NOT NULL PRIMARY KEY,
    ordinal       bigint NOT NULL,
    state_ordinal bigint NOT NULL,
    state         bytea  NOT NULL,
    CHECK (state_ordinal <= ordinal)
);
COMMENT ON TABLE ledger_marks IS 'How far each node''s events are in the ledger, and the fold''s state at state_ordinal';

CREATE TABLE queues (
    node             text   NOT NULL,
    queue            text   NOT NULL,
    name             text   NOT NULL,
    service_level_ns bigint NOT NULL CHECK (service_level_ns >= 0),
    short_abandon_ns bigint NOT NULL CHECK (short_abandon_ns >= 0),
    PRIMARY KEY (node, queue)
);
COMMENT ON TABLE queues IS 'Queues and the thresholds of their figures, from the newest definition';

CREATE TABLE agents (
    node  text NOT NULL,
    agent text NOT NULL,
    name  text NOT NULL,
    PRIMARY KEY (node, agent)
);

CREATE TABLE calls (
    node        text    NOT NULL,
    call        text    NOT NULL,
    channel     text    NOT NULL,
    number      text    NOT NULL,
    flow        text    NOT NULL,
    adopted     boolean NOT NULL,
    opened_ns   bigint  NOT NULL,
    choice      text    NOT NULL,
    queue       text    NOT NULL,
    entered_ns  bigint,
    waited_ns   bigint,
    answered_ns bigint,
    agent       text    NOT NULL,
    offers      integer NOT NULL CHECK (offers >= 0),
    misses      integer NOT NULL CHECK (misses >= 0),
    ended_ns    bigint,
    outcome     text,
    ended_by    text,
    cause       integer NOT NULL,
    talk_ns     bigint  NOT NULL,
    hold_ns     bigint  NOT NULL,
    wrap_up_ns  bigint  NOT NULL,
    quarantined boolean NOT NULL,
    PRIMARY KEY (node, call),
    CONSTRAINT calls_outcome CHECK
        (outcome IN ('answered', 'abandoned', 'left_in_flow', 'system', 'fallback', 'rejected')),
    CONSTRAINT calls_ended_by CHECK (ended_by IN ('caller', 'agent', 'system')),
    CONSTRAINT calls_one_terminal CHECK
        ((ended_ns IS NULL) = (outcome IS NULL) AND (ended_ns IS NULL) = (ended_by IS NULL)),
    CONSTRAINT calls_entered CHECK ((entered_ns IS NULL) = (queue = ''))
);
COMMENT ON TABLE calls IS 'One row a call';
COMMENT ON COLUMN calls.number IS 'The centre''s own number that was dialled; the caller''s is in people';
COMMENT ON COLUMN calls.choice IS 'The node of the flow that the caller chose last';
COMMENT ON COLUMN calls.waited_ns IS 'From entering the queue to the answer or the end; null while waiting';
COMMENT ON COLUMN calls.outcome IS 'answered: talked to an agent; abandoned: hung up while waiting; left_in_flow: '
    'hung up in the menu; system: ended by the system; fallback: left to the dialplan''s static fallback; '
    'rejected: no flow for the number';
COMMENT ON COLUMN calls.cause IS 'Q.850, 0 = unknown';
COMMENT ON COLUMN calls.quarantined IS 'The program failed on this call and set it apart';

CREATE INDEX calls_by_opening ON calls (opened_ns);
CREATE INDEX calls_by_queue ON calls (queue, entered_ns) WHERE queue <> '';

CREATE TABLE segments (
    node    text   NOT NULL,
    call    text   NOT NULL,
    party   text   NOT NULL,
    agent   text   NOT NULL,
    seq     bigint NOT NULL,
    state   text   NOT NULL,
    queue   text   NOT NULL,
    peer    text   NOT NULL,
    from_ns bigint NOT NULL,
    to_ns   bigint,
    PRIMARY KEY (node, call, party, agent, seq),
    CONSTRAINT segments_party CHECK (party IN ('caller', 'agent')),
    CONSTRAINT segments_state CHECK (state IN ('ivr', 'waiting', 'reserved', 'ringing', 'talking', 'wrap_up')),
    CONSTRAINT segments_of_agent CHECK ((party = 'agent') = (agent <> '')),
    CONSTRAINT segments_in_time CHECK (to_ns >= from_ns)
);
COMMENT ON TABLE segments IS 'Who was in which state of a call, with whom, from when to when';
COMMENT ON COLUMN segments.seq IS 'events.ordinal of the event that began it';

-- What must never be true is refused here too, whoever writes.
CREATE UNIQUE INDEX segments_one_open_a_party ON segments (node, call, party, agent) WHERE to_ns IS NULL;
CREATE UNIQUE INDEX segments_one_call_an_agent ON segments (node, agent) WHERE to_ns IS NULL AND party = 'agent';
CREATE UNIQUE INDEX segments_one_offer_a_call ON segments (node, call)
    WHERE to_ns IS NULL AND party = 'agent' AND state IN ('reserved', 'ringing');

CREATE TABLE agent_intervals (
    node    text   NOT NULL,
    agent   text   NOT NULL,
    seq     bigint NOT NULL,
    state   text   NOT NULL,
    reason  text   NOT NULL,
    call    text   NOT NULL,
    from_ns bigint NOT NULL,
    to_ns   bigint,
    PRIMARY KEY (node, agent, seq),
    CONSTRAINT agent_intervals_state CHECK
        (state IN ('signed_out', 'ready', 'reserved', 'ringing', 'talking', 'wrap_up', 'paused',
                   'not_responding', 'releasing')),
    CONSTRAINT agent_intervals_in_time CHECK (to_ns >= from_ns)
);
COMMENT ON TABLE agent_intervals IS 'What each agent was doing, without gaps';
CREATE UNIQUE INDEX agent_intervals_one_open ON agent_intervals (node, agent) WHERE to_ns IS NULL;
CREATE INDEX agent_intervals_by_start ON agent_intervals (from_ns);

CREATE TABLE decisions (
    node      text    NOT NULL,
    call      text    NOT NULL,
    attempt   integer NOT NULL,
    agent     text    NOT NULL,
    queue     text    NOT NULL,
    at_ns     bigint  NOT NULL,
    why       jsonb   NOT NULL,
    result    text    NOT NULL,
    result_ns bigint,
    PRIMARY KEY (node, call, attempt),
    CONSTRAINT decisions_result CHECK
        (result IN ('offered', 'answered', 'connect_failed', 'superseded', 'no_answer', 'busy', 'declined',
                    'unreachable', 'failed', 'caller_gone', 'not_dialled', 'lost')),
    CONSTRAINT decisions_over CHECK ((result = 'offered') = (result_ns IS NULL))
);
COMMENT ON TABLE decisions IS 'Which agent was chosen for which call, from whom and why, and what came of it';
COMMENT ON COLUMN decisions.result IS 'offered: still open; superseded: its end was never heard of; '
    'connect_failed: picked up, but Asterisk refused the bridge; the others: why the offer lapsed';
CREATE INDEX decisions_by_time ON decisions (at_ns);

CREATE TABLE recordings (
    node         text   NOT NULL,
    recording    text   NOT NULL,
    call         text   NOT NULL,
    state        text   NOT NULL,
    started_ns   bigint,
    finished_ns  bigint,
    caller_track text   NOT NULL,
    agent_track  text   NOT NULL,
    file         text   NOT NULL,
    duration_ns  bigint NOT NULL,
    error        text   NOT NULL,
    PRIMARY KEY (node, recording),
    CONSTRAINT recordings_state CHECK (state IN ('recording', 'finished', 'failed'))
);
COMMENT ON TABLE recordings IS 'What was recorded of which call; names of files, relative to the recordings'' folder';
CREATE INDEX recordings_of_call ON recordings (call);
