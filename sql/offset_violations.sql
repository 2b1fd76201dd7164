-- Entities whose text is not what their offsets say. Zero on every table that Spanlake wrote.
SELECT count(*) AS entities, count_if(substring(n.note_text, e.start + 1, e.end - e.start) <> e.text)
       AS violations
FROM current_entities e
JOIN notes n ON n.note_id = e.note_id AND n.text_sha256 = e.text_sha256
