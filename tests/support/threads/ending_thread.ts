/** A thread in the place of the one that prepares bodies, which begins and ends by an error at its first body. */
const scope = self as unknown as {
  postMessage(message: unknown): void;
  onmessage: (event: MessageEvent<object>) => void;
};

scope.onmessage = ({ data }) => {
  if ("body" in data) throw new RangeError("this thread ends");
  scope.postMessage({ kind: "begun" });
};
