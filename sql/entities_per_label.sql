-- How many entities of each label were found, in how many notes, and how sure the model was.
SELECT layer, label, count(*) AS entities, count(DISTINCT note_id) AS notes,
       round(avg(score), 3) AS mean_score
FROM current_entities
GROUP BY layer, label
ORDER BY layer, entities DESC
