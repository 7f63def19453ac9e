// The page of `weightzoo serve`: everything it does is a call of the same API that programs use.
"use strict";

const SAMPLES = ["pavilion", "mountain", "cat", "motorcycle", "fig", "drum"];
const IDEAS = ["a cyanotype print", "golden evening light", "a pencil sketch", "a red and yellow duotone",
  "in infrared black and white", "thick fog"];
const PREVIEW_SIDE = 960;   // pixels of the picture on the stage; a download is made at full size
const SMALL_SIDE = 240;     // of what goes to the neighbours' cards
const PAGE = 24;            // cards of the gallery that are fetched at once
const PAIR_SIDE = 384;      // short side of a pair before it is sent

const $ = (id) => document.getElementById(id);
const state = { photo: null, adapter: null, prompt: "", asked: null, offset: 0, pairs: [], job: null };

// ---------------------------------------------------------------- the API

async function api(path, options = {}) {
  const headers = new Headers(options.headers);
  const token = sessionStorage.getItem("token");
  if (token) headers.set("Authorization", `Bearer ${token}`);
  let answer;
  try {
    answer = await fetch(path, { ...options, headers });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The server does not answer. Is it still running?");
  }
  if (answer.status === 401) {
    await askForToken();
    return api(path, options);
  }
  if (answer.ok) return answer;
  const body = await answer.json().catch(() => ({}));
  const wait = answer.headers.get("Retry-After");
  throw new Error(sentence(body.error || `the server answered ${answer.status}`) + (wait ? ` Try again in ${wait} s.` : ""));
}

let asking = null;
function askForToken() {
  const dialog = $("token-dialog");
  asking ??= new Promise((done) => {
    dialog.addEventListener("close", () => {
      sessionStorage.setItem("token", $("token").value);
      asking = null;
      done();
    }, { once: true });
    dialog.showModal();
  });
  return asking;
}

const json = async (path, options) => (await api(path, options)).json();
const count = (number, noun) => `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;
const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".");

function form(fields) {
  const data = new FormData();
  for (const [name, value] of Object.entries(fields)) {
    if (value !== undefined && value !== null) data.append(name, value);
  }
  return { method: "POST", body: data };
}

// ---------------------------------------------------------------- small helpers

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value !== undefined) made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

function show(image, blob) {
  if (image.src.startsWith("blob:")) URL.revokeObjectURL(image.src);
  image.src = URL.createObjectURL(blob);
  return image.decode().catch(() => {});
}

function save(blob, name) {
  const link = element("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

const fileName = (text) => text.toLowerCase().replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-|-$/g, "").slice(0, 60) || "edit";

async function bitmap(blob) {
  try {
    return await createImageBitmap(blob);
  } catch {
    throw new Error("This file is not a picture that the browser can read. Give a JPEG, PNG or WebP.");
  }
}

// A smaller copy of a picture, so that little travels; `side` bounds the long or the short side.
async function reduced(blob, side, bound = "long", filter = "none") {
  const image = await bitmap(blob);
  const measured = bound === "long" ? Math.max(image.width, image.height) : Math.min(image.width, image.height);
  const scale = Math.min(1, side / measured);
  const canvas = element("canvas", { width: Math.max(1, Math.round(image.width * scale)), height: Math.max(1, Math.round(image.height * scale)) });
  const context = canvas.getContext("2d");
  context.filter = filter;
  context.imageSmoothingQuality = "high";
  context.drawImage(image, 0, 0, canvas.width, canvas.height);
  image.close();
  return new Promise((done) => canvas.toBlob(done, "image/png"));
}

// What the model does not read or understand of a prompt, a line each.
function warn(where, notes) {
  $(where).replaceChildren(...notes.map((note) => element("p", {}, sentence(note))));
  $(where).hidden = !notes.length;
}

function complain(where, error) {
  if (error && error.name === "AbortError") return;
  $(where).textContent = error ? error.message : "";
  $(where).hidden = !error;
}

// ---------------------------------------------------------------- the stage

function compareAt(percent) {
  $("stage").style.setProperty("--at", `${percent}%`);
  $("slider").setAttribute("aria-valuetext", `${100 - percent} % of the picture shows the edit`);
}

async function choosePhoto(blob, name) {
  try {
    const image = await bitmap(blob);
    $("stage").style.aspectRatio = `${image.width} / ${image.height}`;
    image.close();
  } catch (error) {
    return complain("problem", error);
  }
  complain("problem", null);
  state.photo = { blob, name };
  state.small = null;
  clearAfter();
  await show($("before"), blob);
  $("before").alt = `The photograph: ${name}`;
  if (state.prompt || state.adapter) await edit();
}

function clearAfter() {
  $("after").hidden = $("after-tag").hidden = true;
  $("stage").classList.remove("compared");
  $("slider").disabled = true;
}

async function chooseSample(name) {
  try {
    const blob = await (await fetch(`/static/samples/${name}.jpg`)).blob();
    await choosePhoto(blob, name);
  } catch (error) {
    complain("problem", error);
  }
}

const smallPhoto = () => (state.small ??= reduced(state.photo.blob, SMALL_SIDE));

// What goes to POST /v1/images: the prompt, or an adapter of the zoo or of a job, and the strength of the edit.
function wanted() {
  const edit = state.adapter ? { adapter: state.adapter } : { prompt: state.prompt };
  return { ...edit, strength: $("strength").value / 100 };
}

async function edit() {
  if (!state.photo || (!state.prompt && !state.adapter)) return;
  state.asked?.abort();
  const asked = (state.asked = new AbortController());
  const started = performance.now();
  $("stage").setAttribute("aria-busy", "true");
  complain("problem", null);
  try {
    const request = form({ photo: state.photo.blob, ...wanted(), max_side: PREVIEW_SIDE });
    const answer = await api("/v1/images", { ...request, signal: asked.signal });
    await show($("after"), await answer.blob());
    $("after").alt = `The photograph as: ${state.prompt || "your own edit"}`;
    $("after").hidden = $("after-tag").hidden = false;
    $("stage").classList.add("compared");
    $("slider").disabled = false;
    report((performance.now() - started) / 1000, answer);
  } catch (error) {
    complain("problem", error);
  } finally {
    if (state.asked === asked) $("stage").setAttribute("aria-busy", "false");
  }
}

function report(seconds, answer) {
  const parts = Object.fromEntries([...(answer.headers.get("Server-Timing") || "").matchAll(/(\w+);dur=([\d.]+)/g)].map((m) => [m[1], m[2] / 1000]));
  const adapter = answer.headers.get("X-Adapter-Id") || "";
  const of = adapter.startsWith("g-") ? `${(parts.generate ?? 0).toFixed(2)} s for the weights, ${(parts.edit ?? 0).toFixed(2)} s for the picture` : `${(parts.edit ?? 0).toFixed(2)} s for the picture`;
  const actions = element("div", { class: "actions" }, element("button", { type: "button", onclick: saveFull }, "Picture, full size"));
  if (!adapter.startsWith("j-")) actions.append(element("button", { type: "button", onclick: () => saveAdapter(adapter, state.prompt) }, "Adapter"));
  $("result").replaceChildren(
    element("p", { class: "big", id: "took" }, `${seconds.toFixed(2)} s`),
    element("p", { class: "soft" }, of), actions);
}

async function saveFull() {
  try {
    const answer = await api("/v1/images", form({ photo: state.photo.blob, ...wanted() }));
    save(await answer.blob(), `${fileName(state.photo.name)}-${fileName(state.prompt)}.png`);
  } catch (error) {
    complain("problem", error);
  }
}

async function saveAdapter(adapter, prompt) {
  try {
    const answer = await api(`/v1/adapters/${encodeURIComponent(adapter)}?format=peft`);
    save(await answer.blob(), `${fileName(prompt)}.zip`);
  } catch (error) {
    complain("problem", error);
  }
}

// ---------------------------------------------------------------- a prompt: the picture and its neighbours

async function ask(prompt) {
  state.prompt = prompt.trim();
  state.adapter = null;
  if (!state.prompt) return;
  await Promise.all([edit(), neighbours(state.prompt)]);
}

async function neighbours(prompt) {
  $("warning").hidden = true;
  let found;
  try {
    found = await json(`/v1/nearest?count=4&prompt=${encodeURIComponent(prompt)}`);
  } catch (error) {
    return complain("problem", error);
  }
  if (state.prompt !== prompt) return;
  warn("warning", found.warnings);
  $("near").hidden = false;
  $("near-cards").replaceChildren(...found.nearest.map((row) => {
    const picture = element("img", { alt: `The photograph as: ${row.prompt}` });
    drawSmall(picture, row.adapter);
    return card(row, [picture], `${Math.round(100 * row.similarity)} % alike in words`);
  }));
}

async function drawSmall(image, adapter) {
  try {
    const answer = await api("/v1/images", form({ photo: await smallPhoto(), adapter }));
    await show(image, await answer.blob());
  } catch {
    image.remove();  // the card says what it is without a picture
  }
}

function card(row, images, figures) {
  return element("article", { class: "card" },
    element("div", { class: images.length > 1 ? "look split" : "look" }, ...images),
    element("div", { class: "text" },
      element("p", { class: "name" }, row.prompt),
      element("p", { class: "figures" }, figures),
      element("div", { class: "actions" },
        element("button", { type: "button", onclick: () => useAdapter(row.adapter, row.prompt) }, "Use it"),
        element("button", { type: "button", "aria-label": `Download the adapter: ${row.prompt}`, onclick: () => saveAdapter(row.adapter, row.prompt) }, "Download"))));
}

async function useAdapter(adapter, prompt) {
  state.adapter = adapter;
  state.prompt = prompt;
  $("prompt").value = prompt;
  $("near").hidden = $("warning").hidden = true;
  $("try").scrollIntoView();
  await edit();
}

// ---------------------------------------------------------------- the gallery

const watcher = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    if (!entry.isIntersecting) continue;
    watcher.unobserve(entry.target);
    api(entry.target.dataset.from).then((answer) => answer.blob()).then((blob) => show(entry.target, blob)).catch(() => {});
  }
}, { rootMargin: "300px" });

let searched = 0;
async function gallery(more = false) {
  const mine = ++searched;
  state.offset = more ? state.offset + PAGE : 0;
  const sample = $("zoo-sample").value;
  let found;
  try {
    found = await json(`/v1/concepts?limit=${PAGE}&offset=${state.offset}&query=${encodeURIComponent($("search").value)}`);
  } catch (error) {
    $("found").textContent = error.message;
    return;
  }
  if (mine !== searched) return;
  const cards = found.concepts.map((row) => {
    const before = element("img", { src: `/static/samples/${sample}.jpg`, alt: "", loading: "lazy" });
    const after = element("img", { alt: `${sample} as: ${row.prompt}`, "data-from": `/v1/concepts/${encodeURIComponent(row.id)}/picture?sample=${sample}&side=240` });
    watcher.observe(after);
    return card(row, [before, after], `L1 ${number(row.metrics.l1)}, unedited ${number(row.metrics.l1_copy)}, PSNR ${number(row.metrics.psnr, 1)} dB`);
  });
  if (more) $("gallery").append(...cards);
  else $("gallery").replaceChildren(...cards);
  $("found").textContent = count(found.total, "concept");
  $("more").hidden = state.offset + PAGE >= found.total;
}

const number = (value, digits = 3) => (value === null || value === undefined ? "–" : value.toFixed(digits));

// ---------------------------------------------------------------- fine-tuning

const measuredOn = () => (state.pairs.length === 1 ? "the only pair" : "held-out pairs");
const stem = (name) => name.replace(/\.[^.]*$/, "");

// Pairs by equal names; where names differ, by their order, which the thumbnails show.
async function readPairs() {
  const [before, after] = ["sources", "targets"].map((id) => [...$(id).files].sort((a, b) => a.name.localeCompare(b.name, undefined, { numeric: true })));
  if (!before.length || !after.length) return;
  const partners = new Map(after.map((file) => [stem(file.name), file]));
  const equal = before.every((file) => partners.has(stem(file.name)));
  if (before.length !== after.length) return complain("tune-problem", new Error(`There are ${before.length} pictures before and ${after.length} after. Give the same number of each.`));
  const pairs = before.map((file, index) => [file, equal ? partners.get(stem(file.name)) : after[index]]);
  try {
    state.pairs = await Promise.all(pairs.map((pair) => Promise.all(pair.map((file) => reduced(file, PAIR_SIDE, "short")))));
    showPairs();
  } catch (error) {
    complain("tune-problem", error);
  }
}

async function examplePairs() {
  const blobs = await Promise.all(SAMPLES.map(async (name) => (await fetch(`/static/samples/${name}.jpg`)).blob()));
  const edit = "sepia(.55) hue-rotate(150deg) saturate(1.6) contrast(1.15)";
  state.pairs = await Promise.all(blobs.map((blob) => Promise.all([reduced(blob, PAIR_SIDE, "short"), reduced(blob, PAIR_SIDE, "short", edit)])));
  $("tune-prompt").value ||= "cool teal tones with strong contrast";
  showPairs();
}

function showPairs() {
  complain("tune-problem", null);
  $("pairs").replaceChildren(...state.pairs.map((pair, index) => element("figure", {},
    ...pair.map((blob, half) => element("img", { src: URL.createObjectURL(blob), alt: `Pair ${index + 1}, ${half ? "after" : "before"}` })))));
  $("tune-start").disabled = !state.pairs.length;
}

async function finetune() {
  const data = new FormData();
  data.append("prompt", $("tune-prompt").value);
  data.append("seconds", $("seconds").value);
  data.append("mode", "closed-form");
  state.pairs.forEach(([source, target], index) => {
    const name = `${String(index + 1).padStart(4, "0")}.png`;  // the server goes by the order of the names
    data.append("sources", source, name);
    data.append("targets", target, name);
  });
  complain("tune-problem", null);
  $("tune-start").disabled = true;
  $("tune-done").hidden = true;
  drawCurve([]);
  warn("tune-warning", []);
  try {
    state.job = await json("/v1/finetune", { method: "POST", body: data });
    warn("tune-warning", state.job.warnings);
    $("tune-stop").hidden = false;
    await follow(state.job);
  } catch (error) {
    complain("tune-problem", error);
  } finally {
    $("tune-start").disabled = false;
    $("tune-stop").hidden = true;
  }
}

// Server-sent events by fetch, because EventSource cannot send a token.
async function* events(path) {
  const reader = (await api(path)).body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const blocks = (text += value).split("\n\n");
    text = blocks.pop();
    for (const block of blocks) {
      const data = block.split("\n").filter((line) => line.startsWith("data:")).map((line) => line.slice(5)).join("\n");
      if (data) yield JSON.parse(data);
    }
  }
}

async function follow(job) {
  const points = [];
  let used = false;
  // The first network edits the photograph at once, a better one again unless something else is shown meanwhile.
  const use = () => {
    if (!used) useAdapter(job.adapter, $("tune-prompt").value);
    else if (state.adapter === job.adapter) edit();
    used = true;
  };
  const say = (text) => { $("tune-state").textContent = text; };
  for await (const event of events(job.events)) {
    if (event.event === "waiting") say("Waiting for its turn.");
    if (event.event === "running") say("Making a first network of your pairs.");
    if (event.event === "progress" && event.l1 !== undefined) {
      points.push(event);
      drawCurve(points);
      say(`Step ${event.step}, ${event.seconds.toFixed(0)} s: error ${event.l1.toFixed(3)} on ${measuredOn()}, ${points[0].l1.toFixed(3)} at the start.`);
      if (event.adapter) use();
    }
    if (event.event === "failed") throw new Error(sentence(event.error || "the training failed"));
    if (event.event === "cancelled") say("Stopped.");
    if (event.event === "done") {
      say(`Done${event.step ? ` after ${event.step} steps` : ""}: error ${points[0].l1.toFixed(3)} at the start, ${event.l1.toFixed(3)} now.`);
      warn("tune-warning", [...job.warnings, ...(event.warnings || [])]);
      $("tune-done").hidden = false;
      use();
    }
  }
}

function drawCurve(points) {
  const [left, top, right, bottom] = [52, 22, 462, 240];
  const most = Math.max(...points.map((p) => p.l1), 0.02) * 1.1;
  const end = Math.max(...points.map((p) => p.seconds), Number($("seconds").value));
  const x = (seconds) => left + (right - left) * seconds / end;
  const y = (l1) => bottom - (bottom - top) * l1 / most;
  const svg = (tag, attributes, text) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    if (text !== undefined) made.textContent = text;
    return made;
  };
  const parts = [0, 0.5, 1].flatMap((share) => [
    svg("line", { class: "axis", x1: left, x2: right, y1: y(share * most), y2: y(share * most) }),
    svg("text", { x: left - 8, y: y(share * most) + 4, "text-anchor": "end" }, (share * most).toFixed(2)),
    svg("text", { x: x(share * end), y: bottom + 20, "text-anchor": share ? (share === 1 ? "end" : "middle") : "start" }, `${Math.round(share * end)} s`),
  ]);
  parts.push(svg("text", { x: left, y: 14 }, `error (L1) on ${measuredOn()}`));
  if (points.length) {
    parts.push(svg("polyline", { class: "path", points: points.map((p) => `${x(p.seconds)},${y(p.l1)}`).join(" ") }));
    const last = points.at(-1);
    parts.push(svg("circle", { class: "dot", cx: x(last.seconds), cy: y(last.l1), r: 4.5 }));
  }
  $("curve").replaceChildren(...parts);
}

// ---------------------------------------------------------------- wiring

function later(action, milliseconds) {
  let timer;
  return () => { clearTimeout(timer); timer = setTimeout(action, milliseconds); };
}

function wire() {
  $("samples").append(...SAMPLES.map((name, index) => element("label", { title: name },
    element("input", { type: "radio", name: "sample", value: name, "aria-label": name, checked: index === 0, onchange: () => chooseSample(name) }),
    element("img", { src: `/static/samples/${name}.jpg`, alt: "" }))));
  $("zoo-sample").append(...SAMPLES.map((name) => element("option", { value: name }, name)));
  $("ideas").append(...IDEAS.map((idea) => element("button", { type: "button", onclick: () => { $("prompt").value = idea; ask(idea); } }, idea)));

  $("ask").addEventListener("submit", (event) => { event.preventDefault(); ask($("prompt").value); });
  $("slider").addEventListener("input", () => compareAt(Number($("slider").value)));
  $("strength").addEventListener("input", () => { $("strength-out").textContent = `${$("strength").value} %`; });
  $("strength").addEventListener("change", edit);
  const own = (file) => {
    if (!file) return;
    for (const radio of document.querySelectorAll("[name=sample]")) radio.checked = false;
    choosePhoto(file, stem(file.name));
  };
  $("upload").addEventListener("change", () => { own($("upload").files[0]); $("upload").value = ""; });
  for (const kind of ["dragover", "dragleave", "drop"]) {
    $("stage").addEventListener(kind, (event) => {
      event.preventDefault();
      $("stage").classList.toggle("dropping", kind === "dragover");
      if (kind === "drop") own(event.dataTransfer.files[0]);
    });
  }
  $("search").addEventListener("input", later(() => gallery(), 250));
  $("zoo-sample").addEventListener("change", () => gallery());
  $("more").addEventListener("click", () => gallery(true));
  $("sources").addEventListener("change", readPairs);
  $("targets").addEventListener("change", readPairs);
  $("example").addEventListener("click", () => examplePairs().catch((error) => complain("tune-problem", error)));
  $("seconds").addEventListener("input", () => { $("seconds-out").textContent = `${$("seconds").value} s`; drawCurve([]); });
  $("tune").addEventListener("submit", (event) => { event.preventDefault(); finetune(); });
  $("tune-stop").addEventListener("click", () => api(`/v1/finetune/${state.job.id}`, { method: "DELETE" }).catch((error) => complain("tune-problem", error)));
  $("tune-use").addEventListener("click", () => useAdapter(state.job.adapter, $("tune-prompt").value));
  $("tune-zip").addEventListener("click", async () => save(await (await api(state.job.result)).blob(), "finetuned.zip"));
}

async function start() {
  wire();
  drawCurve([]);
  await chooseSample(SAMPLES[0]);
  try {
    const model = await json("/v1/model");
    $("parameters").textContent = model.parameters.toLocaleString("en");
    $("concepts").textContent = model.concepts.toLocaleString("en");
    $("model").textContent = `Model ${model.name} (${model.stage}, ${model.fingerprint}).`;
    $("prompt").maxLength = $("tune-prompt").maxLength = model.prompt_characters;
    $("seconds").max = Math.floor(model.job_seconds);
    if (Number($("seconds").value) > model.job_seconds) $("seconds").value = model.job_seconds;
    $("seconds").dispatchEvent(new Event("input"));
  } catch (error) {
    complain("problem", error);
  }
  $("prompt").value = IDEAS[0];
  await Promise.all([ask(IDEAS[0]), gallery()]);
}

start();
