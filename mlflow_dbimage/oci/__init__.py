"""Container images, without models: values first, then media that hold them.

Values, all immutable: `Digest`, `Descriptor`, `Platform`, `Layer`, `Image`.

Sources (an `Image` from): `layout`, `registry`, `docker_archive`, `rootfs`.
Sinks (an `Image` to): `layout`, `registry`, `docker_archive`.

`tar` frames files deterministically, `compression` names its codecs, `layer` makes both digests in one pass,
`tar_members` reads a tar stream and `layer_members` a layer member by member, `inventory` what layers on top of a
base must know, `root_listing` every path and wanted text of an image's root; `validate` recomputes every
invariant of an image.

Sources of the formats: the OCI image, distribution and layout specifications 1.1, and Docker's image
specification 1.2 for archives.
"""
