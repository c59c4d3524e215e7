"""Pictures of runs."""

from collections.abc import Mapping

from matplotlib.figure import Figure


def learning_curves(curves: Mapping[str, Mapping[int, float]]) -> Figure:
    """Loss on the left, errors in percent on the right, over epochs. curves: metric -> epoch -> value."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    loss_axes, error_axes = figure.subplots(1, 2)
    for name, points in curves.items():
        axes, scale = (loss_axes, 1) if name.endswith("loss") else (error_axes, 100)
        epochs = sorted(points)
        label = name.replace("_", " ").replace("top1", "top-1").replace("top5", "top-5")
        axes.plot(
            epochs, [scale * points[epoch] for epoch in epochs], label=label, marker="." if len(epochs) < 40 else ""
        )
    loss_axes.set(xlabel="epoch", ylabel="cross-entropy", yscale="log", title="Loss")
    error_axes.set(xlabel="epoch", ylabel="error, %", ylim=(0, None), title="Error")
    for axes in (loss_axes, error_axes):
        axes.grid(alpha=0.3)
        if axes.lines:
            axes.legend()
    return figure
