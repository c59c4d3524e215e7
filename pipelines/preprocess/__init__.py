"""Raw images to a dataset, with Spark: source -> listing -> decode, resize, encode -> Parquet -> manifest."""
