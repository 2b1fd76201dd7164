-- Every note's end: how many are done, empty, failed or quarantined, not yet read, and what was never read.
SELECT state, count(*) AS notes, sum(chars) AS chars, sum(chars - chars_seen) AS chars_unseen,
       sum(entities) AS entities, sum(relations) AS relations
FROM current_note_status
GROUP BY state
UNION ALL
SELECT 'unprocessed', count(*), sum(chars), sum(chars), 0, 0
FROM unprocessed_notes
HAVING count(*) > 0
ORDER BY notes DESC
