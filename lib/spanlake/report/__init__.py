"""What people read: score tables and pages. Nothing here knows Spark."""
