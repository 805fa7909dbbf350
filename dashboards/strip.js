// The strip of customers: puts prepared markup in place, opens a customer on click, shows counts under the pointer.
// One tooltip per document; rows keep their place because markup is replaced only when it changed.
const THIN = "\u2009";

function grouped(n) {
  return String(n).replace(/\B(?=(\d{3})+$)/g, THIN);
}

function percent(ratio) {
  if (ratio === 0) return "0%";
  const value = ratio * 100;
  const decimals = Math.min(6, Math.max(0, 2 - Math.floor(Math.log10(value))));
  return value.toFixed(decimals) + "%";
}

function tooltip() {
  let tip = document.getElementById("d-tip");
  if (!tip) {
    tip = document.createElement("div");
    tip.id = "d-tip";
    tip.className = "d-tip";
    document.body.appendChild(tip);
  }
  return tip;
}

function series(spark) {
  if (!spark.dSeries) {
    const list = (name) => spark.dataset[name].split(",").map(Number);
    spark.dSeries = { requests: list("requests"), failures: list("failures"), unmeasured: list("unmeasured") };
  }
  return spark.dSeries;
}

function show(spark, event, data) {
  const { requests, failures, unmeasured } = series(spark);
  const box = spark.getBoundingClientRect();
  const last = requests.length - 1;
  const i = Math.max(0, Math.min(last, Math.floor(((event.clientX - box.left) / box.width) * requests.length)));
  const start = Number(spark.dataset.start) + i * Number(spark.dataset.step);
  const time = new Intl.DateTimeFormat(data.locale, {
    timeZone: data.zone, hour: "2-digit", minute: "2-digit", hourCycle: "h23", month: "short", day: "numeric",
  }).format(start);
  const expected = requests[i] + unmeasured[i];
  let text = `<i>${time}</i> `;
  if (requests[i] === 0) {
    text += `<b>${data.words.no_data}</b>`;
  } else {
    const counts = data.words.counts.replace("{failures}", grouped(failures[i])).replace("{requests}", grouped(requests[i]));
    text += `<b>${percent(failures[i] / requests[i])}</b> <i>${counts}</i>`;
  }
  if (expected > 0 && requests[i] / expected < 0.99) {
    text += ` <i>· ${data.words.covered.replace("{coverage}", percent(Math.floor((requests[i] / expected) * 1000) / 1000))}</i>`;
  }
  const tip = tooltip();
  tip.innerHTML = text;
  tip.style.display = "block";
  const width = tip.offsetWidth;
  tip.style.left = Math.max(8, Math.min(window.innerWidth - width - 8, event.clientX - width / 2)) + "px";
  tip.style.top = box.top - tip.offsetHeight - 6 + "px";
  const cursor = spark.querySelector(".cursor");
  cursor.style.display = "block";
  cursor.style.left = ((i + 0.5) / requests.length) * 100 + "%";
}

function hide(root) {
  tooltip().style.display = "none";
  root.querySelectorAll(".cursor").forEach((c) => (c.style.display = "none"));
}

export default function (component) {
  const { data, parentElement, setTriggerValue } = component;
  let root = parentElement.querySelector(".d-root");
  if (!root) {
    root = document.createElement("div");
    root.className = "d-root";
    parentElement.appendChild(root);
  }
  if (root.dMarkup !== data.markup) {
    root.innerHTML = data.markup;
    root.dMarkup = data.markup;
  }
  root.onclick = (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey || event.button !== 0) return;
    const row = event.target.closest("tr.row");
    if (!row) return;
    event.preventDefault();
    hide(root);
    setTriggerValue("opened", row.dataset.customer);
  };
  root.onpointermove = (event) => {
    const spark = event.target.closest(".d-spark");
    root.querySelectorAll(".cursor").forEach((c) => (c.style.display = "none"));
    if (spark) show(spark, event, data);
    else hide(root);
  };
  root.onpointerleave = () => hide(root);
  return () => hide(root);
}
