import * as NodeFileSystem from "@effect/platform-node/NodeFileSystem"
import * as NodeHttpPlatform from "@effect/platform-node/NodeHttpPlatform"
import * as NodePath from "@effect/platform-node/NodePath"
import type { FileSystem } from "effect/FileSystem"
import * as Etag from "effect/http/Etag"
import type { HttpPlatform } from "effect/http/HttpPlatform"
import * as Layer from "effect/Layer"
import type { Path } from "effect/Path"

/** What Effect's own routes, `HttpApi` layers and files need of the platform. */
export type Platform = HttpPlatform | Etag.Generator | FileSystem | Path

/** Without terminal and child processes: each terminal listens to the process's stdin for as long as its server is there. */
export const layer: Layer.Layer<Platform> = Layer.mergeAll(
  NodeHttpPlatform.layer,
  Etag.layerWeak,
  NodeFileSystem.layer,
  NodePath.layer
)
