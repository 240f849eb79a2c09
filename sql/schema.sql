-- What all migrations together give, for reading. Made by: python -m ari_app.store.migrate --dump
-- Do not edit: write a migration, then make this file again. A test keeps them equal.

CREATE TABLE agent_intervals (
    node text NOT NULL,
    agent text NOT NULL,
    seq bigint NOT NULL,
    state text NOT NULL,
    reason text NOT NULL,
    call text NOT NULL,
    from_ns bigint NOT NULL,
    to_ns bigint,
    CONSTRAINT agent_intervals_pkey PRIMARY KEY (node, agent, seq),
    CONSTRAINT agent_intervals_in_time CHECK ((to_ns >= from_ns)),
    CONSTRAINT agent_intervals_state CHECK ((state = ANY (ARRAY['signed_out'::text, 'ready'::text, 'reserved'::text, 'ringing'::text, 'talking'::text, 'holding'::text, 'wrap_up'::text, 'paused'::text, 'not_responding'::text, 'releasing'::text, 'unreachable'::text, 'other_call'::text])))
);
CREATE INDEX agent_intervals_by_start ON public.agent_intervals USING btree (from_ns);
CREATE UNIQUE INDEX agent_intervals_one_open ON public.agent_intervals USING btree (node, agent) WHERE (to_ns IS NULL);
COMMENT ON TABLE agent_intervals IS 'What each agent was doing, without gaps';

CREATE TABLE agents (
    node text NOT NULL,
    agent text NOT NULL,
    name text NOT NULL,
    CONSTRAINT agents_pkey PRIMARY KEY (node, agent)
);

CREATE TABLE calls (
    node text NOT NULL,
    call text NOT NULL,
    channel text NOT NULL,
    number text NOT NULL,
    flow text NOT NULL,
    adopted boolean NOT NULL,
    opened_ns bigint NOT NULL,
    choice text NOT NULL,
    queue text NOT NULL,
    entered_ns bigint,
    waited_ns bigint,
    answered_ns bigint,
    agent text NOT NULL,
    offers integer NOT NULL,
    misses integer NOT NULL,
    ended_ns bigint,
    outcome text,
    ended_by text,
    cause integer NOT NULL,
    talk_ns bigint NOT NULL,
    hold_ns bigint NOT NULL,
    wrap_up_ns bigint NOT NULL,
    quarantined boolean NOT NULL,
    disposition text NOT NULL DEFAULT ''::text,
    CONSTRAINT calls_pkey PRIMARY KEY (node, call),
    CONSTRAINT calls_ended_by CHECK ((ended_by = ANY (ARRAY['caller'::text, 'agent'::text, 'system'::text, 'outside'::text]))),
    CONSTRAINT calls_entered CHECK (((entered_ns IS NULL) = (queue = ''::text))),
    CONSTRAINT calls_misses_check CHECK ((misses >= 0)),
    CONSTRAINT calls_offers_check CHECK ((offers >= 0)),
    CONSTRAINT calls_one_terminal CHECK ((((ended_ns IS NULL) = (outcome IS NULL)) AND ((ended_ns IS NULL) = (ended_by IS NULL)))),
    CONSTRAINT calls_outcome CHECK ((outcome = ANY (ARRAY['answered'::text, 'abandoned'::text, 'left_in_flow'::text, 'system'::text, 'fallback'::text, 'rejected'::text, 'overflowed'::text, 'timed_out'::text, 'forwarded'::text, 'voicemail'::text])))
);
CREATE INDEX calls_by_opening ON public.calls USING btree (opened_ns);
CREATE INDEX calls_by_queue ON public.calls USING btree (queue, entered_ns) WHERE (queue <> ''::text);
COMMENT ON TABLE calls IS 'One row a call';
COMMENT ON COLUMN calls.number IS 'The centre''s own number that was dialled; the caller''s is in people';
COMMENT ON COLUMN calls.choice IS 'The node of the flow that the caller chose last';
COMMENT ON COLUMN calls.waited_ns IS 'From entering the queue to the answer or the end; null while waiting';
COMMENT ON COLUMN calls.outcome IS 'answered: talked to an agent; abandoned: hung up while waiting; left_in_flow: hung up in the menu; system: ended by the system; fallback: left to the dialplan''s static fallback; rejected: no flow for the number; overflowed, timed_out: a queue''s rules led out of the centre; forwarded: talked at a number outside; voicemail: left a message';
COMMENT ON COLUMN calls.ended_by IS 'outside: whoever the caller talked with at a number outside';
COMMENT ON COLUMN calls.cause IS 'Q.850, 0 = unknown';
COMMENT ON COLUMN calls.quarantined IS 'The program failed on this call and set it apart';
COMMENT ON COLUMN calls.disposition IS 'What the agent said came of it: one of the queue''s codes';

CREATE TABLE decisions (
    node text NOT NULL,
    call text NOT NULL,
    attempt integer NOT NULL,
    agent text NOT NULL,
    queue text NOT NULL,
    at_ns bigint NOT NULL,
    why jsonb NOT NULL,
    result text NOT NULL,
    result_ns bigint,
    CONSTRAINT decisions_pkey PRIMARY KEY (node, call, attempt),
    CONSTRAINT decisions_over CHECK (((result = 'offered'::text) = (result_ns IS NULL))),
    CONSTRAINT decisions_result CHECK ((result = ANY (ARRAY['offered'::text, 'answered'::text, 'connect_failed'::text, 'superseded'::text, 'no_answer'::text, 'busy'::text, 'declined'::text, 'unreachable'::text, 'failed'::text, 'caller_gone'::text, 'not_dialled'::text, 'lost'::text, 'answered_elsewhere'::text, 'not_confirmed'::text])))
);
CREATE INDEX decisions_by_time ON public.decisions USING btree (at_ns);
COMMENT ON TABLE decisions IS 'Which agent was chosen for which call, from whom and why, and what came of it';
COMMENT ON COLUMN decisions.result IS 'offered: still open; superseded: its end was never heard of; connect_failed: picked up, but Asterisk refused the bridge; the others: why the offer lapsed';

CREATE TABLE events (
    node text NOT NULL,
    epoch text NOT NULL,
    seq bigint NOT NULL,
    ordinal bigint NOT NULL,
    at timestamp with time zone NOT NULL,
    at_ns bigint NOT NULL,
    input_seq bigint NOT NULL,
    kind text NOT NULL,
    version smallint NOT NULL,
    call_id text NOT NULL,
    agent text NOT NULL,
    queue text NOT NULL,
    body jsonb NOT NULL,
    CONSTRAINT events_pkey PRIMARY KEY (node, epoch, seq),
    CONSTRAINT events_in_order UNIQUE (node, ordinal)
);
CREATE INDEX events_of_call ON public.events USING btree (call_id, ordinal) WHERE (call_id <> ''::text);
COMMENT ON TABLE events IS 'Facts decided by the engine; never changed, never deleted one by one';
COMMENT ON COLUMN events.node IS 'The journal this came from: one id for as long as its file lives';
COMMENT ON COLUMN events.epoch IS 'The run of the engine; new at every start';
COMMENT ON COLUMN events.seq IS 'Number in the journal; repeats under a new epoch if a power cut took the journal''s end';
COMMENT ON COLUMN events.ordinal IS 'Order of a node''s events, without repetition: what the ledger follows';
COMMENT ON COLUMN events.at_ns IS 'Nanoseconds UTC; "at" is the same instant, rounded down to microseconds';
COMMENT ON COLUMN events.input_seq IS 'Number of the first event that the same input caused';
COMMENT ON COLUMN events.call_id IS 'Empty for events of no call';

CREATE TABLE ledger_marks (
    node text NOT NULL,
    ordinal bigint NOT NULL,
    state_ordinal bigint NOT NULL,
    state bytea NOT NULL,
    CONSTRAINT ledger_marks_pkey PRIMARY KEY (node),
    CONSTRAINT ledger_marks_check CHECK ((state_ordinal <= ordinal))
);
COMMENT ON TABLE ledger_marks IS 'How far each node''s events are in the ledger, and the fold''s state at state_ordinal';

CREATE TABLE marks (
    node text NOT NULL,
    epoch text NOT NULL,
    seq bigint NOT NULL,
    ordinal bigint NOT NULL,
    people bigint NOT NULL,
    CONSTRAINT marks_pkey PRIMARY KEY (node)
);
COMMENT ON TABLE marks IS 'The last event and the last change of people copied from each node';

CREATE TABLE own_calls (
    node text NOT NULL,
    call text NOT NULL,
    agent text NOT NULL,
    direction text NOT NULL,
    kind text NOT NULL,
    began_ns bigint NOT NULL,
    answered_ns bigint,
    ended_ns bigint,
    cause integer NOT NULL,
    unseen boolean NOT NULL,
    CONSTRAINT own_calls_pkey PRIMARY KEY (node, call),
    CONSTRAINT own_calls_direction CHECK ((direction = ANY (ARRAY['in'::text, 'out'::text]))),
    CONSTRAINT own_calls_in_time CHECK (((ended_ns >= began_ns) AND (ended_ns >= answered_ns))),
    CONSTRAINT own_calls_kind CHECK ((kind = ANY (ARRAY[''::text, 'inside'::text, 'outside'::text, 'emergency'::text])))
);
CREATE INDEX own_calls_by_start ON public.own_calls USING btree (began_ns);
COMMENT ON TABLE own_calls IS 'Calls that agents'' phones made or got by themselves; the other side''s number is in people';
COMMENT ON COLUMN own_calls.kind IS 'What was dialled; empty for a call that came in';
COMMENT ON COLUMN own_calls.unseen IS 'The end is when it was found out: nobody watched when it came';

CREATE TABLE people (
    node text NOT NULL,
    call_id text NOT NULL,
    number text NOT NULL,
    name text NOT NULL,
    change bigint NOT NULL,
    note text NOT NULL DEFAULT ''::text,
    CONSTRAINT people_pkey PRIMARY KEY (node, call_id)
);
COMMENT ON TABLE people IS 'Number and name of each caller, as they came, and the agent''s note; blank once erased';

CREATE TABLE queues (
    node text NOT NULL,
    queue text NOT NULL,
    name text NOT NULL,
    service_level_ns bigint NOT NULL,
    short_abandon_ns bigint NOT NULL,
    CONSTRAINT queues_pkey PRIMARY KEY (node, queue),
    CONSTRAINT queues_service_level_ns_check CHECK ((service_level_ns >= 0)),
    CONSTRAINT queues_short_abandon_ns_check CHECK ((short_abandon_ns >= 0))
);
COMMENT ON TABLE queues IS 'Queues and the thresholds of their figures, from the newest definition';

CREATE TABLE recordings (
    node text NOT NULL,
    recording text NOT NULL,
    call text NOT NULL,
    state text NOT NULL,
    started_ns bigint,
    finished_ns bigint,
    caller_track text NOT NULL,
    agent_track text NOT NULL,
    file text NOT NULL,
    duration_ns bigint NOT NULL,
    error text NOT NULL,
    CONSTRAINT recordings_pkey PRIMARY KEY (node, recording),
    CONSTRAINT recordings_state CHECK ((state = ANY (ARRAY['recording'::text, 'finished'::text, 'failed'::text])))
);
CREATE INDEX recordings_of_call ON public.recordings USING btree (call);
COMMENT ON TABLE recordings IS 'What was recorded of which call; names of files, relative to the recordings'' folder';

CREATE TABLE segments (
    node text NOT NULL,
    call text NOT NULL,
    party text NOT NULL,
    agent text NOT NULL,
    seq bigint NOT NULL,
    state text NOT NULL,
    queue text NOT NULL,
    peer text NOT NULL,
    from_ns bigint NOT NULL,
    to_ns bigint,
    CONSTRAINT segments_pkey PRIMARY KEY (node, call, party, agent, seq),
    CONSTRAINT segments_in_time CHECK ((to_ns >= from_ns)),
    CONSTRAINT segments_of_agent CHECK (((party = 'agent'::text) = (agent <> ''::text))),
    CONSTRAINT segments_party CHECK ((party = ANY (ARRAY['caller'::text, 'agent'::text]))),
    CONSTRAINT segments_state CHECK ((state = ANY (ARRAY['ivr'::text, 'waiting'::text, 'reserved'::text, 'ringing'::text, 'talking'::text, 'holding'::text, 'wrap_up'::text])))
);
CREATE UNIQUE INDEX segments_one_call_an_agent ON public.segments USING btree (node, agent) WHERE ((to_ns IS NULL) AND (party = 'agent'::text));
CREATE UNIQUE INDEX segments_one_open_a_party ON public.segments USING btree (node, call, party, agent) WHERE (to_ns IS NULL);
COMMENT ON TABLE segments IS 'Who was in which state of a call, with whom, from when to when';
COMMENT ON COLUMN segments.seq IS 'events.ordinal of the event that began it';

CREATE TABLE visits (
    node text NOT NULL,
    call text NOT NULL,
    seq bigint NOT NULL,
    queue text NOT NULL,
    from_ns bigint NOT NULL,
    fate text NOT NULL,
    reason text NOT NULL,
    to_ns bigint,
    waited_ns bigint,
    CONSTRAINT visits_pkey PRIMARY KEY (node, call, seq),
    CONSTRAINT visits_fate CHECK ((fate = ANY (ARRAY['waiting'::text, 'answered'::text, 'abandoned'::text, 'overflowed'::text, 'timed_out'::text, 'lost'::text]))),
    CONSTRAINT visits_in_time CHECK ((to_ns >= from_ns)),
    CONSTRAINT visits_over CHECK ((((fate = 'waiting'::text) = (to_ns IS NULL)) AND ((fate = 'waiting'::text) = (waited_ns IS NULL))))
);
CREATE INDEX visits_by_queue ON public.visits USING btree (queue, from_ns);
CREATE UNIQUE INDEX visits_one_open_a_call ON public.visits USING btree (node, call) WHERE (to_ns IS NULL);
COMMENT ON TABLE visits IS 'A call''s stays in queues; offered = answered + abandoned + overflowed + timed_out + lost + waiting';
COMMENT ON COLUMN visits.seq IS 'events.ordinal of the event that began it';
COMMENT ON COLUMN visits.reason IS 'Of overflowed: full, no_agents, closed, holiday or crisis; of lost: the call''s outcome';

CREATE OR REPLACE FUNCTION public.instant(ns bigint)
 RETURNS timestamp with time zone
 LANGUAGE sql
 STABLE PARALLEL SAFE STRICT
RETURN ('1970-01-01 00:00:00+00'::timestamp with time zone + (((ns / 1000))::double precision * '00:00:00.000001'::interval));
COMMENT ON FUNCTION instant IS 'Nanoseconds UTC as a timestamp, rounded down to microseconds';

CREATE VIEW call_list AS
 SELECT c.node,
    c.call,
    instant(c.opened_ns) AS opened_at,
    p.number AS caller_number,
    p.name AS caller_name,
    c.number,
    c.flow,
    c.choice,
    c.queue,
    c.agent,
    instant(c.entered_ns) AS entered_at,
    instant(c.answered_ns) AS answered_at,
    instant(c.ended_ns) AS ended_at,
    c.waited_ns::numeric / '1000000000'::numeric AS waited_s,
    c.talk_ns::numeric / '1000000000'::numeric AS talk_s,
    c.hold_ns::numeric / '1000000000'::numeric AS hold_s,
    c.wrap_up_ns::numeric / '1000000000'::numeric AS wrap_up_s,
    c.outcome,
    c.ended_by,
    c.cause,
    c.offers,
    c.misses,
    c.adopted,
    c.quarantined,
    COALESCE(c.outcome = 'abandoned'::text AND c.entered_ns IS NOT NULL AND c.waited_ns < q.short_abandon_ns, false) AS short,
    c.opened_ns,
    c.entered_ns
   FROM calls c
     LEFT JOIN people p ON p.node = c.node AND p.call_id = c.call
     LEFT JOIN queues q ON q.node = c.node AND q.queue = c.queue;
COMMENT ON VIEW call_list IS 'One row a call, with the caller, and whether the abandon was a short one';

CREATE VIEW queue_calls AS
 SELECT c.node,
    c.call,
    v.queue,
    COALESCE(NULLIF(q.name, ''::text), v.queue) AS name,
    v.from_ns AS entered_ns,
    v.waited_ns,
        CASE
            WHEN v.fate = 'answered'::text THEN c.talk_ns
            ELSE 0::bigint
        END AS talk_ns,
        CASE
            WHEN v.fate = 'answered'::text THEN c.hold_ns
            ELSE 0::bigint
        END AS hold_ns,
        CASE
            WHEN v.fate = 'answered'::text THEN c.wrap_up_ns
            ELSE 0::bigint
        END AS wrap_up_ns,
    v.fate,
    COALESCE(v.fate = 'abandoned'::text AND v.waited_ns < q.short_abandon_ns, false) AS short,
    COALESCE(v.waited_ns <= q.service_level_ns, false) AS within,
    v.to_ns IS NOT NULL AS left_queue,
    v.reason
   FROM visits v
     JOIN calls c ON c.node = v.node AND c.call = v.call
     LEFT JOIN queues q ON q.node = v.node AND q.queue = v.queue;
COMMENT ON VIEW queue_calls IS 'The calls behind every figure of a queue, with their fate there';

CREATE VIEW agent_times AS
 SELECT node,
    agent,
    seq,
    state,
    reason,
    call,
    instant(from_ns) AS from_at,
    instant(to_ns) AS to_at,
    (to_ns - from_ns)::numeric / '1000000000'::numeric AS seconds,
    from_ns,
    to_ns
   FROM agent_intervals;
COMMENT ON VIEW agent_times IS 'Agents'' intervals; to_at is null for the present one';

CREATE VIEW own_call_list AS
 SELECT o.node,
    o.call,
    o.agent,
    o.direction,
    o.kind,
    o.began_ns,
    instant(o.began_ns) AS began_at,
    instant(o.answered_ns) AS answered_at,
    instant(o.ended_ns) AS ended_at,
    p.number AS other_number,
    (o.ended_ns - o.answered_ns)::numeric / '1000000000'::numeric AS talk_s,
    o.cause,
    o.unseen
   FROM own_calls o
     LEFT JOIN people p ON p.node = o.node AND p.call_id = o.call;
COMMENT ON VIEW own_call_list IS 'One row an agent''s own call, with the number of the other side';

CREATE VIEW voicemails AS
 SELECT r.node,
    r.call,
    c.queue,
    instant(r.started_ns) AS left_at,
    p.number AS caller_number,
    p.name AS caller_name,
    r.duration_ns::numeric / '1000000000'::numeric AS seconds,
    r.state,
    r.file,
    r.error,
    r.started_ns
   FROM recordings r
     JOIN calls c ON c.node = r.node AND c.call = r.call AND c.outcome = 'voicemail'::text
     LEFT JOIN people p ON p.node = r.node AND p.call_id = r.call
  WHERE r.recording ~~ '%.message.%'::text;
COMMENT ON VIEW voicemails IS 'Messages that callers have left: when, in which queue, how long, in which file of the recordings';
