"""Measurements that belong to the repository; each module says what it measures and how to run it."""
