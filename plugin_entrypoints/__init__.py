"""The doors: each reads its caller's words into a request, calls the core once, and answers in those words.

| door | who calls it | what it hands in |
| --- | --- | --- |
| `deployments` | `mlflow deployments ... -t dbimage`, `get_deploy_client("dbimage:...")` | strings of `-C` |
| `cli` | people and CI: the `dbimage` command | arguments and options |
| `webhook` | model registries, browsers and programs, over HTTP | signed events, forms, JSON |
| `batch` | the container: ENTRYPOINT of the images that we build | arguments of a scoring job |

No door imports another; `mlflow_words`, `terminal`, `progress_view` and `scoring_calls` are how they speak.
"""
