"""New images to their classes, by a logged model, with Spark."""
