-- Who wants calls and cannot be rung is not "ready": the phone is away, or on a call of its own.

ALTER TABLE agent_intervals DROP CONSTRAINT agent_intervals_state;
ALTER TABLE agent_intervals ADD CONSTRAINT agent_intervals_state CHECK
    (state IN ('signed_out', 'ready', 'reserved', 'ringing', 'talking', 'wrap_up', 'paused',
               'not_responding', 'releasing', 'unreachable', 'other_call'));
