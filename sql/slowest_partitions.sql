-- The partitions that took longest: where, how much they read, and where the seconds went.
SELECT plan_id, wave, partition, host, device, units, tokens, model_loads,
       round(task_seconds, 2) AS task_seconds, round(load_seconds, 2) AS load_seconds,
       round(forward_seconds, 2) AS forward_seconds
FROM timings
ORDER BY task_seconds DESC
