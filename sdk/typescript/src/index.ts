export { Client } from "./client.ts";
export { formatId, parseId } from "./ids.ts";
export type { Id } from "./ids.ts";
export { Key, verify } from "./keys.ts";
export { accessSigningBytes, authorization, payloadSigningBytes, signPayload } from "./signing.ts";
export { timeNsOf, timestampOf } from "./times.ts";
export { openTimeNs } from "./windows.ts";
