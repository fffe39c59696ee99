"""Where images go and are found again: an OCI layout, a registry, a Docker engine, an archive.

State lives in the destination: what is deployed is what its tags and labels say, so every machine sees the same.
An image is written first, by digest; names move last, so that a build that fails leaves every name where it was.

| destination | a deployment is | its tags |
| --- | --- | --- |
| `registry` | a repository, `{prefix}/{name}` | `v3-<digest12>` (never moves), `v3`, `deployed` |
| `layout` | tags that begin with its name | `<name>-v3-<digest12>`, `<name>-v3`, `<name>` |
| `engine` | a repository of the engine | as in a registry |
| `archive` | the file | as in an engine |
| `loaded` | as where images are kept, and in the local engine too | as there |
"""
