"""One file a pillar: model, loss, metrics and preprocessing wired together."""
