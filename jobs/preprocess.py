"""Raw images to a Petastorm Parquet dataset: `spark-submit jobs/preprocess.py CONF.yaml [key=value …]`."""

from pipelines.command_line import run
from pipelines.config import PreprocessSettings
from pipelines.preprocess.make_dataset import make_dataset
from pipelines.preprocess.session import spark_session


def main(settings: PreprocessSettings) -> None:
    manifest = make_dataset(spark_session("strata-preprocess"), settings)
    train, val = manifest.splits["train"], manifest.splits["val"]
    print(
        f"dataset    {settings.output.path}\n"
        f"  train    {train.rows} images in {len(train.files)} files, {len(manifest.classes)} classes\n"
        f"  val      {val.rows} images in {len(val.files)} files\n"
        f"  rejects  {sum(manifest.rejects.values())}\n"
        f"  mean {manifest.statistics.mean}  std {manifest.statistics.std}\n"
        f"  digest   {manifest.digest}\n"
        f"next: horovodrun -np 2 python jobs/train.py CONF.yaml dataset={settings.output.path}"
    )


if __name__ == "__main__":
    run(PreprocessSettings, main, "spark-submit jobs/preprocess.py")
