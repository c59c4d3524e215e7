"""A network as ONNX, computed by onnxruntime."""

import io
import warnings

import pytest
import torch


def through_onnx(network, images_NCHW):
    """A function from images, of any number, to logits: `network` exported with those images as its example."""
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Constant folding", UserWarning)  # of slices that are left as they are
        # The newer exporter (dynamo=True) needs onnxscript, whose ml-dtypes the lock's numpy rules out.
        torch.onnx.export(
            network,
            (images_NCHW,),
            file,
            dynamo=False,
            input_names=["images"],
            dynamic_axes={"images": {0: "batch"}},
        )
    session = runtime.InferenceSession(file.getvalue(), providers=["CPUExecutionProvider"])
    return lambda given: torch.from_numpy(session.run(None, {"images": given.numpy()})[0])
