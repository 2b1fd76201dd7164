-- Every drug with its strength, route and frequency, as the note writes them: one row per mention.
SELECT e.note_id, e.text AS drug,
       array_join(collect_set(r.tail_text) FILTER (WHERE r.tail_label = 'strength'), ', ')  AS strength,
       array_join(collect_set(r.tail_text) FILTER (WHERE r.tail_label = 'route'), ', ')     AS route,
       array_join(collect_set(r.tail_text) FILTER (WHERE r.tail_label = 'frequency'), ', ') AS frequency
FROM current_entities e
LEFT JOIN current_relations r ON r.head_entity_id = e.entity_id
WHERE e.label = 'drug'
GROUP BY e.note_id, e.entity_id, e.text, e.start
ORDER BY e.note_id, e.start
