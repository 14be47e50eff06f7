"""pyarrow's S3 filesystem, its Parquet files and data sets against the endpoint and bucket of the command line."""

import os
import sys

import pyarrow as pa
from pyarrow import dataset, fs, parquet

endpoint, bucket = sys.argv[1:]
s3 = fs.S3FileSystem(
    access_key="test", secret_key="test", endpoint_override=endpoint.removeprefix("http://"), scheme="http",
    region="us-east-1",
)  # fmt: skip
table = pa.table({"year": [2024, 2025, 2025], "mass": [3750, 5050, 5200]})
parquet.write_table(table, f"{bucket}/one.parquet", filesystem=s3)
read = parquet.read_table(f"{bucket}/one.parquet", filesystem=s3, columns=["mass"])
assert read.to_pydict() == {"mass": [3750, 5050, 5200]}
parquet.write_to_dataset(table, f"{bucket}/tree", partition_cols=["year"], filesystem=s3)
back = dataset.dataset(f"{bucket}/tree", filesystem=s3, partitioning="hive")
assert sorted(back.to_table(filter=dataset.field("year") == 2025).to_pydict()["mass"]) == [5050, 5200]
body = os.urandom(11_000_000)
with s3.open_output_stream(f"{bucket}/large") as stream:
    stream.write(body)
with s3.open_input_file(f"{bucket}/large") as file:
    assert file.read_at(1000, 10_500_000) == body[10_500_000:10_501_000]
assert s3.get_file_info(f"{bucket}/large").size == len(body)
s3.copy_file(f"{bucket}/large", f"{bucket}/copy")
s3.move(f"{bucket}/copy", f"{bucket}/moved")
s3.delete_dir(f"{bucket}/tree")
found = sorted(info.base_name for info in s3.get_file_info(fs.FileSelector(bucket)))
assert found == ["large", "moved", "one.parquet"], found
print("ok")
