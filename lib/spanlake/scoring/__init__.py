"""Scores of predictions against annotated notes: metrics, intervals, breakdowns and reports."""
