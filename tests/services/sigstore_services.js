// Sigstore's services, as its JavaScript library has them for tests, behind HTTP: a certificate authority, a log of
// certificates, and a log of signatures. Writes to the working folder whom to trust, and which services there are.
//
// The library's handlers take what its own client sends. What is translated is what others send in another form: a
// request for a certificate in the place of a public key, and a proposal of which the log keeps digests alone.
const childProcess = require("child_process");
const crypto = require("crypto");
const fs = require("fs");
const http = require("http");
const mock = require("@sigstore/mock");

const START = { start: "2020-01-01T00:00:00Z" };
const keys = () => crypto.generateKeyPairSync("ec", { namedCurve: "prime256v1" });
const text = (bytes) => Buffer.from(bytes.buffer ?? bytes, bytes.byteOffset ?? 0, bytes.byteLength).toString("base64");
const digest = (data) => crypto.createHash("sha256").update(data);
const hash = (data) => ({ algorithm: "sha256", value: digest(data).digest("hex") });

function asked(request, body) {
  const document = JSON.parse(body);
  if (document.certificateSigningRequest) {
    const input = Buffer.from(document.certificateSigningRequest, "base64");
    const content = childProcess.execFileSync("openssl", ["req", "-pubkey", "-noout"], { input }).toString();
    const oidcIdentityToken = (request.headers.authorization ?? "").replace("Bearer ", "");
    return {
      credentials: { oidcIdentityToken },
      publicKeyRequest: { publicKey: { algorithm: "ECDSA", content }, proofOfPossession: "" },
    };
  }
  if (document.kind === "dsse") {
    const { envelope, verifiers } = document.spec.proposedContent;
    const { payload, signatures } = JSON.parse(envelope);
    document.spec = {
      envelopeHash: hash(envelope),
      payloadHash: hash(Buffer.from(payload, "base64")),
      signatures: signatures.map((each, number) => ({ signature: each.sig, verifier: verifiers[number] })),
    };
  }
  return document;
}

async function main(port) {
  const base = `http://127.0.0.1:${port}`;
  const certificates = await mock.initializeCTLog(keys());
  const authority = await mock.initializeCA(keys(), certificates);
  const log = await mock.initializeTLog(base, keys());
  const handlers = new Map([mock.fulcioHandler(authority), mock.rekorHandler(log)].map((each) => [each.path, each.fn]));
  const trusted = (publicKey, keyId) => ({
    baseUrl: base,
    hashAlgorithm: "SHA2_256",
    publicKey: { rawBytes: text(publicKey), keyDetails: "PKIX_ECDSA_P256_SHA_256", validFor: START },
    logId: { keyId },
  });
  const trustedRoot = {
    mediaType: "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
    tlogs: [trusted(log.publicKey, digest(log.publicKey).digest("base64"))],
    ctlogs: [trusted(certificates.publicKey, text(certificates.logID))],
    certificateAuthorities: [
      {
        subject: { commonName: "tests", organization: "tests" },
        uri: base,
        certChain: { certificates: [{ rawBytes: text(authority.rootCertificate) }] },
        validFor: START,
      },
    ],
    timestampAuthorities: [],
  };
  const service = [{ url: base, majorApiVersion: 1, validFor: START, operator: "tests" }];
  const signingConfig = {
    mediaType: "application/vnd.dev.sigstore.signingconfig.v0.2+json",
    caUrls: service,
    oidcUrls: service,
    rekorTlogUrls: service,
    rekorTlogConfig: { selector: "ANY" },
    tsaUrls: [],
    tsaConfig: { selector: "ANY" },
  };
  const mediaType = "application/vnd.dev.sigstore.clienttrustconfig.v0.1+json";
  const server = http.createServer((request, response) => {
    const parts = [];
    request.on("data", (part) => parts.push(part));
    request.on("end", async () => {
      const handler = handlers.get(request.url);
      const found = handler ? await handler(JSON.stringify(asked(request, Buffer.concat(parts)))) : { statusCode: 404 };
      response.writeHead(found.statusCode, { "content-type": "application/json" });
      response.end(found.response);
    });
  });
  server.listen(port, "127.0.0.1", () => {
    fs.writeFileSync("root.json", JSON.stringify(trustedRoot));
    fs.writeFileSync("config.json", JSON.stringify({ mediaType, trustedRoot, signingConfig }));
    console.log("ready");
  });
}

main(Number(process.argv[2]));
