-- An agent whose phone holds the call is "holding": seen as such, and its time counted apart from the talk.

ALTER TABLE agent_intervals DROP CONSTRAINT agent_intervals_state;
ALTER TABLE agent_intervals ADD CONSTRAINT agent_intervals_state CHECK
    (state IN ('signed_out', 'ready', 'reserved', 'ringing', 'talking', 'holding', 'wrap_up', 'paused',
               'not_responding', 'releasing', 'unreachable', 'other_call'));
ALTER TABLE segments DROP CONSTRAINT segments_state;
ALTER TABLE segments ADD CONSTRAINT segments_state CHECK
    (state IN ('ivr', 'waiting', 'reserved', 'ringing', 'talking', 'holding', 'wrap_up'));
