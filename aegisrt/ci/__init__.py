"""The CI matrix: the cells of configs/ci/, composed and checked as deployments are."""
