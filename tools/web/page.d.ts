// What ComfyUI's page gives to web/js: the modules its scripts import, and names for their comments.

declare namespace Page {
  type App = import("@comfyorg/comfyui-frontend-types").ComfyApp;
  type Extension = import("@comfyorg/comfyui-frontend-types").ComfyExtension;
  type TextWidget = import("@comfyorg/comfyui-frontend-types").DOMWidget<HTMLTextAreaElement, string>;
  type Stored = { filename?: string; subfolder?: string; type?: string };
  type Compared = { before: Stored; after: Stored; turns: [number, number]; branches: boolean };
  type Output = {
    text?: string[];
    images?: unknown[];
    kontext_size?: [number, number][];
    kontext_compare?: Compared[];
  };

  type Subgraph = Parameters<App["canvas"]["openSubgraph"]>[0];

  type Widget = NonNullable<Node["widgets"]>[number];

  /** What the page keeps of a node's schema, at its class. */
  type NodeClass = Function & {
    nodeData?: { input?: Partial<Record<"required" | "optional", Record<string, [unknown, { advanced?: boolean }?]>>> };
  };

  /** A node on the canvas. The package does not export its class, and lacks the hook for its results. */
  type Node = Parameters<NonNullable<Extension["nodeCreated"]>>[0] & {
    onExecuted?(output: Output | undefined): void;
    imgs?: HTMLImageElement[];
    hideOutputImages?: boolean;
    addDOMWidget(
      name: string,
      type: string,
      element: HTMLElement,
      options: { serialize?: boolean; hideOnZoom?: boolean; getMinHeight?(): number },
    ): Widget;
  };
}

interface Window {
  LiteGraph: { createNode(type: string): unknown; vueNodesMode?: boolean };
}

declare module "*/scripts/app.js" {
  export const app: Page.App;
}

declare module "*/scripts/widgets.js" {
  type Input = [type: "STRING", options: { multiline?: boolean; default?: string }];
  export const ComfyWidgets: {
    STRING(node: Page.Node, name: string, input: Input, app: Page.App): { widget: Page.TextWidget };
  };
}
