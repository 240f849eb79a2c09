// The stream of pictures: open while it can be, open again when it breaks, and never silent about it.

const SILENT_MS = 6000; // the server says something every two seconds
const AGAIN_MS = [1000, 2000, 3000, 5000];

/** `on.part(name, content)`, `on.stale(since)` (null: no longer), `on.out()`: the token is no good. */
export class Live {
  constructor(on) {
    this.on = on;
    this.source = null;
    this.heard = 0;
    this.heardAt = null;
    this.stale = false;
    this.failures = 0;
    this.timer = 0;
    this.watch = 0;
  }

  start() {
    this.stop();
    this.heard = performance.now();
    this.heardAt = new Date();
    this.watch = setInterval(() => this.look(), 500);
    this.open();
  }

  stop() {
    clearInterval(this.watch);
    clearTimeout(this.timer);
    if (this.source) this.source.close();
    this.source = null;
  }

  open() {
    if (this.source) this.source.close();
    const source = new EventSource("/wallboard/live");
    this.source = source;
    for (const name of ["queues", "agents", "waiting", "happenings", "head"])
      source.addEventListener(name, (event) => {
        this.alive();
        this.on.part(name, JSON.parse(event.data));
      });
    source.addEventListener("out", () => this.out());
    source.onerror = () => this.broken();
  }

  alive() {
    this.heard = performance.now();
    this.heardAt = new Date();
    this.failures = 0;
    if (this.stale) {
      this.stale = false;
      this.on.stale(null);
    }
  }

  // The browser's own way to connect again gives up after some answers (a proxy's 502): ours does not.
  broken() {
    this.source.close();
    this.lost();
    clearTimeout(this.timer);
    const wait = AGAIN_MS[Math.min(this.failures++, AGAIN_MS.length - 1)];
    this.timer = setTimeout(() => this.retry(), wait);
  }

  // A stream that is refused does not tell its script why: ask who we are.
  async retry() {
    try {
      const answer = await fetch("/wallboard/who", { signal: AbortSignal.timeout(5000) });
      if (!answer.ok) this.broken();
      else if ((await answer.json()).name) {
        this.heard = performance.now(); // silence is counted from here
        this.open();
      } else this.out();
    } catch {
      this.broken(); // nobody answers: stale is shown, and we go on trying
    }
  }

  look() {
    if (performance.now() - this.heard <= SILENT_MS) return;
    this.lost();
    // A connection that hangs without an end, as after a cable was pulled.
    if (this.source && this.source.readyState === EventSource.OPEN) this.broken();
    else if (this.source && this.source.readyState === EventSource.CONNECTING) this.broken();
  }

  lost() {
    if (this.stale) return;
    this.stale = true;
    this.on.stale(this.heardAt);
  }

  out() {
    this.stop();
    this.on.out();
  }
}
