/** As much of htm/preact as the page uses. */
export type Node = object | undefined;
export function html(strings: TemplateStringsArray, ...values: unknown[]): Node;
export function render(node: Node, into: Element): void;
export function useState<T>(initial: T): [T, (value: T) => void];
export function useReducer<S>(reducer: (state: S) => S, initial: S): [S, (action?: unknown) => void];
export function useRef<T>(initial: T): { current: T };
export function useEffect(effect: () => undefined | (() => void) | void, on: readonly unknown[]): void;
