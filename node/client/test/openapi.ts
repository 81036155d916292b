/** Renders `src/openapi.ts` out of the daemon's OpenAPI document. */

export interface Schema {
  $ref?: string;
  allOf?: Schema[];
  anyOf?: Schema[];
  enum?: string[];
  type?: string;
  description?: string;
  properties?: Record<string, Schema>;
  additionalProperties?: Schema | boolean;
  items?: Schema;
  required?: string[];
}

interface Content {
  content?: Record<string, { schema: Schema }>;
}

export interface Operation {
  operationId: string;
  summary: string;
  parameters?: { name: string; in: string; required: boolean; schema: Schema }[];
  requestBody?: Content;
  responses: Record<string, Content>;
}

export interface OpenApi {
  paths: Record<string, Record<string, Operation>>;
  components: { schemas: Record<string, Schema> };
}

const SCALARS: Record<string, string> = {
  string: "string",
  number: "number",
  integer: "number",
  boolean: "boolean",
  null: "null",
};

function typeOf(schema: Schema): string {
  if (schema.$ref !== undefined) return schema.$ref.replace(/^.*\//, "");
  if (schema.anyOf !== undefined) return schema.anyOf.map(typeOf).join(" | ");
  if (schema.enum !== undefined) return schema.enum.map((value) => JSON.stringify(value)).join(" | ");
  if (schema.type === "array") return `${typeOf(schema.items ?? {})}[]`;
  if (schema.type === "object") {
    const values = schema.additionalProperties;
    return `Record<string, ${typeof values === "object" ? typeOf(values) : "unknown"}>`;
  }
  const scalar = SCALARS[schema.type ?? ""];
  if (scalar === undefined) throw new Error(`no type for ${JSON.stringify(schema)}`);
  return scalar;
}

function comment(text: string | undefined): string[] {
  return text === undefined ? [] : [`/** ${text.replaceAll("*/", "* /")} */`];
}

function renderSchema(name: string, schema: Schema): string[] {
  const fields = Object.entries(schema.properties ?? {});
  if (fields.length === 0) return [...comment(schema.description), `export type ${name} = Record<string, never>;`, ""];
  const lines = fields.map(([field, type]) => {
    const optional = schema.required?.includes(field) ? "" : "?";
    return `  ${field}${optional}: ${typeOf(type)};`;
  });
  return [...comment(schema.description), `export interface ${name} {`, ...lines, "}", ""];
}

function bodyOf(content: Content | undefined): string | undefined {
  const schema = Object.values(content?.content ?? {})[0]?.schema;
  return schema === undefined ? undefined : typeOf(schema);
}

function renderOperation(path: string, method: string, operation: Operation): string[] {
  const query = (operation.parameters ?? []).filter((parameter) => parameter.in === "query");
  const names = query.map((p) => `${p.name}${p.required ? "" : "?"}: ${typeOf(p.schema)}`);
  return [
    `  /** ${method.toUpperCase()} ${path}: ${operation.summary} */`,
    `  ${operation.operationId}: {`,
    `    method: "${method.toUpperCase()}";`,
    `    path: "${path}";`,
    `    query: ${names.length === 0 ? "undefined" : `{ ${names.join("; ")} }`};`,
    `    body: ${bodyOf(operation.requestBody) ?? "undefined"};`,
    `    answer: ${bodyOf(operation.responses["200"]) ?? "undefined"};`,
    "  };",
  ];
}

/** Codes of every failure that the document names. */
export function codesOf(document: OpenApi): string[] {
  const codes = new Set<string>();
  for (const operation of Object.values(document.paths).flatMap((methods) => Object.values(methods))) {
    for (const answer of Object.values(operation.responses)) {
      for (const part of Object.values(answer.content ?? {})[0]?.schema.allOf ?? []) {
        for (const code of part.properties?.code?.enum ?? []) codes.add(code);
      }
    }
  }
  return [...codes].sort();
}

/** The text of `src/openapi.ts`. */
export function render(document: OpenApi): string {
  const operations = Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.entries(methods).flatMap(([method, operation]) => renderOperation(path, method, operation)),
  );
  return [
    "/** The types of the control API, generated from the daemon's `/openapi.json` by `test/openapi.ts`. Do not edit. */",
    "",
    ...Object.entries(document.components.schemas).flatMap(([name, schema]) => renderSchema(name, schema)),
    "/** Every endpoint, by its operation id. */",
    "export interface Operations {",
    ...operations,
    "}",
    "",
    "/** `code` of every failure that the daemon knows to answer with. */",
    "export type ProblemCode =",
    `${codesOf(document)
      .map((code) => `  | ${JSON.stringify(code)}`)
      .join("\n")};`,
    "",
  ].join("\n");
}
