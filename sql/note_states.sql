-- Every note's end: how many are done, empty, failed or quarantined, and what was never read.
SELECT s.state, count(*) AS notes, sum(s.chars) AS chars, sum(s.chars - s.chars_seen) AS chars_unseen,
       sum(s.entities) AS entities, sum(s.relations) AS relations
FROM note_status s
JOIN notes n ON n.note_id = s.note_id AND n.text_sha256 = s.text_sha256
GROUP BY s.state
ORDER BY notes DESC
