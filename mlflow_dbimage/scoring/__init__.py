"""Scoring of files by a model: what runs inside the images that we build.

    rows -> (by the signature) model inputs -> predictions -> outputs

| module | what it has |
| --- | --- |
| `job` | `ScoreJob` and `run`: the order of the steps |
| `signature` | what the model says of its inputs, outputs and parameters |
| `rows`, `row_formats`, `bodies` | the rows of files, in chunks, as they are written |
| `values` | one value read as the type that the signature gives it |
| `inputs` | a chunk of rows as the argument of `predict` |
| `model` | loading, predicting, finding the rows that a model cannot take |
| `predictions` | what models return, as columns |
| `outputs`, `parquet_output` | the files that are written, aside and then renamed |
| `workplace` | streams, signals, folders, environment variables and garbage collector of the process |
| `self_check` | the check that an image makes of itself: the order of its steps |
| `made_example` | an example for models that have none |
| `requirement_imports` | whether what a model requires is there and can be imported |
| `import_times`, `attempts` | what is watched meanwhile: slow imports, the network, the model's own folder |
| `typed_values`, `closeness` | predictions as JSON that keeps types, and when two of them are equal |
| `error_facts` | what is known of an exception |
| `rehearsal` | the same check before an image is laid out |

It is copied into images as it is and runs there in the model's own environment: Python 3.7 and newer, the
standard library, and what every pyfunc model has (mlflow, numpy, pandas, PyYAML); pyarrow where it is.
Nothing else of this project may be imported here.
"""

#: Of the command line and the forms of its files; goes up when either changes.
VERSION = "1.1"
