-- Several offers of one call at once (ring all), several phones an agent: more ways in which an offer ends.

ALTER TABLE decisions DROP CONSTRAINT decisions_result;
ALTER TABLE decisions ADD CONSTRAINT decisions_result CHECK
    (result IN ('offered', 'answered', 'connect_failed', 'superseded', 'no_answer', 'busy', 'declined',
                'unreachable', 'failed', 'caller_gone', 'not_dialled', 'lost', 'answered_elsewhere',
                'not_confirmed'));
DROP INDEX segments_one_offer_a_call;
