-- The patient's own problems that are neither negated nor uncertain, by how many notes have them.
-- A null (not known) is neither true nor false: such a mention is left out.
SELECT lower(text) AS problem, count(*) AS mentions, count(DISTINCT note_id) AS notes
FROM current_entities
WHERE label = 'problem' AND negated = false AND uncertain = false AND subject = 'patient'
GROUP BY lower(text)
ORDER BY notes DESC, mentions DESC, problem
