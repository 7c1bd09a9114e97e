#include "quant/output.h"

#include <doctest/doctest.h>
#include <sys/stat.h>

#include "error.h"
#include "model/forward.h"
#include "quant/fixture.h"

using namespace baleen;
using namespace baleen::test;

namespace {

const char* const model = "deepseek_v3-moonlight";

std::string without(std::string text, const std::string& part) {
  for (std::size_t at = text.find(part); at != text.npos; at = text.find(part)) text.erase(at, part.size());
  return text;
}

// What a run says, without the temporary folder's name.
std::string error_of_run(const TempDir& dir, const Run& run, const fs::path& in, const fs::path& out) {
  return without(error_of([&] { run(in, out); }), dir.path().string() + "/");
}

// Ends a run when that many modules are done.
void interrupt(Run run, const fs::path& in, const fs::path& out, std::size_t modules) {
  std::atomic<bool> cancel = modules == 0;
  std::size_t done = 0;
  run.cancel = &cancel;
  run.on_progress = [&](std::uint64_t) { cancel = ++done >= modules; };
  CHECK_THROWS_AS(run(in, out), Cancelled);
}

fs::path journal_of(const fs::path& out) {
  return fs::path(out.string() + ".partial") / journal_name;
}

std::size_t lines_of(const fs::path& file) {
  const std::string text = read_file(file);
  return static_cast<std::size_t>(std::count(text.begin(), text.end(), '\n'));
}

const Run plain;
const Run resuming{.output = {.resume = true, .settings = "settings"}};
const Run forcing{.output = {.force = true, .settings = "settings"}};

struct Folders {
  TempDir dir;
  fs::path in = golden_model(model);
  fs::path out = dir.path() / "out";
  fs::path partial = dir.path() / "out.partial";
  std::string error(const Run& run) const { return error_of_run(dir, run, in, out); }
};

}  // namespace

TEST_CASE("an interrupted run, gone on with, ends in the same bytes") {
  Folders f;
  Run run{.shard_size = 300'000};
  run(f.in, f.dir.path() / "whole");
  const auto whole = files_of(f.dir.path() / "whole");
  CHECK(whole.size() > 5);
  CHECK(whole.count(std::string(journal_name)) == 0);
  for (const std::size_t modules : {0, 1, 30, 108}) {
    CAPTURE(modules);
    interrupt(run, f.in, f.out, modules);
    CHECK(!fs::exists(f.out));
    CHECK(!fs::exists(f.partial / "config.json"));  // nothing that looks whole
    CHECK(lines_of(journal_of(f.out)) == 1 + modules);
    Run again = resuming;
    again.shard_size = run.shard_size;
    again(f.in, f.out);
    CHECK(files_of(f.out) == whole);
    CHECK(!fs::exists(f.partial));
    fs::remove_all(f.out);
  }
}

TEST_CASE("what the journal does not name is done again") {
  Folders f;
  plain(f.in, f.dir.path() / "whole");
  interrupt(plain, f.in, f.out, 60);
  // A kill while the last line was written, after tensors that no line names.
  const std::string journal = read_file(journal_of(f.out));
  std::size_t end = 0;
  for (int line = 0; line < 41; ++line) end = journal.find('\n', end) + 1;
  write_file(journal_of(f.out), journal.substr(0, end + 20));
  const Source source = Source::open(f.in);
  const Plan plan = plain.plan(source);
  std::string shard = read_file(f.partial / "model.safetensors");
  for (std::size_t m = 40; m < 60; ++m)
    for (const PlannedTensor& t : plan.tensors_of(m)) shard.replace(t.offset, t.bytes, t.bytes, 'x');
  write_file(f.partial / "model.safetensors", shard);
  resuming(f.in, f.out);
  CHECK(files_of(f.out) == files_of(f.dir.path() / "whole"));
}

TEST_CASE("killed before anything was begun") {
  Folders f;
  plain(f.in, f.dir.path() / "whole");
  const auto whole = files_of(f.dir.path() / "whole");
  for (const Run* const run : {&resuming, &forcing}) {
    fs::create_directory(f.partial);
    (*run)(f.in, f.out);
    CHECK(files_of(f.out) == whole);
    fs::remove_all(f.out);
    fs::create_directory(f.partial);  // shards, and a journal without a line
    write_file(journal_of(f.out), "");
    write_file(f.partial / "model.safetensors", "1234");
    (*run)(f.in, f.out);
    CHECK(files_of(f.out) == whole);
    fs::remove_all(f.out);
  }
}

TEST_CASE("unfinished work is neither begun anew nor gone on with by accident") {
  Folders f;
  interrupt(plain, f.in, f.out, 5);
  const auto before = files_of(f.partial);
  CHECK(f.error(plain) ==
        "out.partial: unfinished work of an earlier run; --resume goes on with it, --force begins anew");
  Run other = resuming;
  other.output.settings = "other settings";
  CHECK(f.error(other) ==
        "out.partial: was begun with settings, now it is other settings\n--force begins anew");
  other = resuming;
  other.choose.to = Target{Encoding::int4, 32};
  CHECK(f.error(other) ==
        "out.partial: was begun with other formats or another size of shards\n--force begins anew");
  CHECK(error_of_run(f.dir, resuming, golden_model("deepseek_v2-lite"), f.out) ==
        "out.partial: was begun from another model\n--force begins anew");
  CHECK(files_of(f.partial) == before);
  other = resuming;
  other.output.force = true;  // --resume is the milder one
  other(f.in, f.out);
  CHECK(check_problems(f.out).empty());
}

TEST_CASE("unfinished work that was tampered with") {
  Folders f;
  interrupt(plain, f.in, f.out, 5);
  const std::string journal = read_file(journal_of(f.out));
  const auto with_line = [&](const std::string& line) {
    write_file(journal_of(f.out), journal + line + "\n");
    return f.error(resuming);
  };
  const std::string file = "out.partial/baleen-quantize.jsonl: line 7: ";
  CHECK(with_line("x") == file + "no JSON object; --force begins anew");
  CHECK(with_line(R"({"module":1000,"error":0,"norm":0,"checksums":[]})") ==
        file + "no module of this model; --force begins anew");
  CHECK(with_line(R"({"module":6,"error":0,"norm":0,"checksums":[]})") ==
        file + "not the checksums of the module's tensors; --force begins anew");
  write_file(journal_of(f.out), journal);
  fs::resize_file(f.partial / "model.safetensors", 1000);
  CHECK(f.error(resuming) ==
        "out.partial/model.safetensors: not as the interrupted run left it; --force begins anew");
  forcing(f.in, f.out);
  CHECK(check_problems(f.out).empty());
}

TEST_CASE("a folder of somebody else under the name OUT.partial") {
  Folders f;
  fs::create_directory(f.partial);
  write_file(f.partial / "thesis", "ten years");
  const std::string not_work =
      "out.partial: no baleen-quantize.jsonl in it, this is not the unfinished work of an earlier run";
  CHECK(f.error(plain) ==
        "out.partial: exists, and the work would be done there; expected another name for OUT");
  CHECK(f.error(resuming) == not_work);
  CHECK(f.error(forcing) == not_work);
  write_file(journal_of(f.out), "notes\n");
  const std::string no_journal =
      "out.partial/baleen-quantize.jsonl: line 1: no JSON object; not the journal of a run";
  CHECK(f.error(resuming) == no_journal);
  CHECK(f.error(forcing) == no_journal);
  CHECK(read_file(f.partial / "thesis") == "ten years");
  fs::remove_all(f.partial);
  write_file(f.partial, "");  // a file
  CHECK(f.error(forcing) == not_work);
  CHECK(fs::exists(f.partial));
}

TEST_CASE("OUT exists") {
  Folders f;
  fs::create_directory(f.out);  // empty: as if it were not there
  plain(f.in, f.out);
  const auto first = files_of(f.out);
  CHECK(f.error(plain) == "out: exists already; --force replaces it");
  CHECK(f.error(resuming) == "out: exists already; --force replaces it");
  Run four = forcing;
  four.choose.to = Target{Encoding::int4, 32};
  four(f.in, f.out);
  CHECK(files_of(f.out) != first);
  CHECK(check_problems(f.out).empty());
  CHECK(!fs::exists(f.partial));
  forcing(f.in, f.out);
  CHECK(files_of(f.out) == first);
  // Folders that hold anything else, and files, stay.
  fs::create_directory(f.out / "photos");
  const std::string no_model = "out: exists and is no folder of a model alone; --force replaces nothing else";
  CHECK(f.error(forcing) == no_model);
  fs::remove(f.out / "photos");
  fs::remove(f.out / "model.safetensors");
  CHECK(f.error(forcing) == no_model);
  CHECK(fs::exists(f.out / "config.json"));
  fs::remove_all(f.out);
  write_file(f.out, "text");
  CHECK(f.error(forcing) == "out: exists and is no folder");
  CHECK(!fs::exists(f.partial));
}

TEST_CASE("OUT by another name: slashes, dots and links") {
  Folders f;
  CHECK(output_folder("a/b//") == "a/b");
  CHECK_THROWS_AS(output_folder(""), UsageError);
  fs::create_directory(f.out);
  fs::create_directory_symlink(f.out, f.dir.path() / "link");
  CHECK(output_folder(f.dir.path() / "link") == fs::canonical(f.out));
  CHECK(output_folder(f.out / ".") == fs::canonical(f.out));
  plain(f.in, f.dir.path() / "link");
  CHECK(check_problems(f.out).empty());
  CHECK(fs::is_symlink(f.dir.path() / "link"));
  fs::create_symlink("nowhere", f.dir.path() / "dangling");
  CHECK(error_of_run(f.dir, plain, f.in, f.dir.path() / "dangling") == "dangling: No such file or directory");
}

TEST_CASE("nothing that is done to OUT touches the source") {
  Folders f;
  const fs::path in = TestModel(model).write(f.dir.path() / "in");
  const auto before = files_of(in);
  const auto error = [&](const fs::path& from, const fs::path& to) {
    return error_of_run(f.dir, forcing, from, to);
  };
  const std::string same = "in: this is the model to be quantized, expected another folder";
  CHECK(error(in, in) == same);
  CHECK(error(in, f.dir.path() / "in/") == same);
  fs::create_directory_symlink(in, f.dir.path() / "link");
  CHECK(contains(error(in, f.dir.path() / "link"), "this is the model to be quantized"));
  CHECK(contains(error(f.dir.path() / "link", in), "this is the model to be quantized"));
  CHECK(error(in, in / "out") == "in/out: lies in the model to be quantized, expected a folder beside it");
  // A model of links, as in a download cache.
  const fs::path links = f.dir.path() / "links";
  fs::create_directory(links);
  for (const auto& [name, bytes] : before) fs::create_symlink(in / name, links / name);
  CHECK(error(links, in) == "in: holds files of the model to be quantized, expected another folder");
  fs::rename(in, f.dir.path() / "x.partial");
  CHECK(contains(error(f.dir.path() / "x.partial", f.dir.path() / "x"), "holds files of the model"));
  fs::rename(f.dir.path() / "x.partial", in);
  CHECK(files_of(in) == before);
  plain(links, f.out);
  CHECK(check_problems(f.out).empty());
}

TEST_CASE("two runs at once") {
  Folders f;
  plain(f.in, f.dir.path() / "whole");
  const Source source = Source::open(f.in);
  const Plan plan = plain.plan(source);
  const std::string busy = "out.partial/baleen-quantize.jsonl: another run is writing it";
  {
    Output first(f.out, source, plan, plain.options(source));
    CHECK(f.error(plain) ==
          "out.partial: unfinished work of an earlier run; --resume goes on with it, --force begins anew");
    CHECK(f.error(resuming) == busy);
    CHECK(f.error(forcing) == busy);
    ThreadPool pool(1);
    write_modules(source, plan, first, pool,
                  {.kernels = kernels::find_kernels("scalar"), .rule = ScaleRule::minmax});
  }
  CHECK(lines_of(journal_of(f.out)) == 1 + plan.modules.size());
  resuming(f.in, f.out);
  CHECK(files_of(f.out) == files_of(f.dir.path() / "whole"));
}

TEST_CASE("a disk without room") {
  Folders f;
  Run run;
  run.output.beside = std::uint64_t{1} << 50;
  const std::string error = f.error(run);
  CHECK(error.starts_with("out: takes 1024.0 TiB, the disk has "));
  CHECK(error.ends_with(" are missing"));
  CHECK(!fs::exists(f.partial));
}

TEST_CASE("what a kill at the very end leaves is cleared away") {
  Folders f;
  plain(f.in, f.out);
  const auto whole = files_of(f.out);
  fs::copy(f.out, f.partial);  // the folder that was replaced
  write_file(journal_of(f.out), "");
  write_file(f.out / journal_name, "lines");
  tidy_output(f.out);
  CHECK(files_of(f.out) == whole);
  CHECK(!fs::exists(f.partial));
  // Real work stays.
  interrupt(plain, f.in, f.dir.path() / "other", 3);
  fs::rename(f.dir.path() / "other.partial", f.partial);
  tidy_output(f.out);
  CHECK(lines_of(journal_of(f.out)) == 4);
}

TEST_CASE("tensors are written whole or not at all") {
  Folders f;
  const Source source = Source::open(f.in);
  const Plan plan = plain.plan(source);
  Output output(f.out, source, plan, {});
  const PlannedTensor& tensor = plan.tensors[0];
  TensorWriter writer(output, tensor);
  writer.append(std::vector<std::byte>(tensor.bytes - 1));
  CHECK_THROWS_AS(writer.finish(), std::logic_error);
  TensorWriter longer(output, tensor);
  longer.append(std::vector<std::byte>(tensor.bytes + 1));
  CHECK_THROWS_AS(longer.finish(), std::logic_error);
  CHECK_THROWS_AS(output.commit(), std::logic_error);
}
