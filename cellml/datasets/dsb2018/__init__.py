"""Data Science Bowl 2018, stage 1 (BBBC038): nuclei with instance labels."""
