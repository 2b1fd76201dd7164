-- The patient's own problems that are neither negated nor uncertain, by how many notes have them.
SELECT lower(text) AS problem, count(*) AS mentions, count(DISTINCT note_id) AS notes
FROM current_entities
WHERE label = 'problem' AND NOT negated AND NOT uncertain AND subject IS NULL
GROUP BY lower(text)
ORDER BY notes DESC, mentions DESC, problem
