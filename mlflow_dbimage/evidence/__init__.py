"""What proves an image: what is in it, statements about it, and signatures.

    bill_of_materials the packages of an image, as CycloneDX and SPDX
    advisories        which of them have known vulnerabilities
    statement         in-toto statements: what is said of which digest
    envelope          DSSE envelopes: statements, signed
    image_signature   signatures of an image in cosign's form
    tagged_manifest   manifests in the form in which cosign keeps either
    signing_key       the protocols of keys

Nothing here talks to a registry, or knows how a key is kept.
"""
