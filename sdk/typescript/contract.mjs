// Brings the generated contract in, so that the package is whole and its imports resolve here.
import { cpSync, rmSync } from "node:fs";

const here = import.meta.dirname;
rmSync(`${here}/gen`, { recursive: true, force: true });
cpSync(`${here}/../../gen/typescript`, `${here}/gen`, { recursive: true });
