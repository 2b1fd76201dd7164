-- Every note's end: how many are done, empty, failed or quarantined, and what was never read.
SELECT state, count(*) AS notes, sum(chars) AS chars, sum(chars - chars_seen) AS chars_unseen,
       sum(entities) AS entities, sum(relations) AS relations
FROM current_note_status
GROUP BY state
ORDER BY notes DESC
