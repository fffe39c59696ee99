// Checks bundles as Sigstore's JavaScript library does: `node sigstore_verify.js ROOT IDENTITY ISSUER BUNDLE...`.
const fs = require("fs");
const { bundleFromJSON } = require("@sigstore/bundle");
const { TrustedRoot } = require("@sigstore/protobuf-specs");
const { Verifier, toSignedEntity, toTrustMaterial } = require("@sigstore/verify");

const [root, subjectAlternativeName, issuer, ...bundles] = process.argv.slice(2);
const read = (path) => JSON.parse(fs.readFileSync(path));
const material = toTrustMaterial(TrustedRoot.fromJSON(read(root)));
const verifier = new Verifier(material, { ctlogThreshold: 1, tlogThreshold: 1 });
for (const each of bundles) {
  verifier.verify(toSignedEntity(bundleFromJSON(read(each))), { subjectAlternativeName, extensions: { issuer } });
}
console.log(`verified ${bundles.length}`);
