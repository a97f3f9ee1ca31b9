"""The submit commands that HTCondor knows (condor_submit manual, "Submit Description File Commands").

HTCondor takes an unknown command for a macro, so a misspelt one has no effect. Here, one that resembles a known command
is an error, unless another command really uses it as a macro, ``$(name)`` or ``$INT(name)``.
"""

import difflib
import re
from collections.abc import Collection, Iterable, Mapping

_TEXT = """
accounting_group accounting_group_user allowed_execute_duration allowed_job_duration allow_arguments_v1
allow_environment_v1 append_files arc_application arc_data_staging arc_resources arc_rte arguments arguments2
args arch aws_access_key_id_file aws_region aws_secret_access_key_file azure_admin_key azure_admin_username
azure_auth_file azure_image azure_location azure_size batch_extra_submit_args batch_id batch_name batch_project
batch_queue batch_runtime buffer_block_size buffer_files buffer_size checkpoint_destination
checkpoint_exit_code cloud_label_names cmd compress_files concurrency_limits concurrency_limits_expr
container_image container_is_common container_service_names container_target_dir copy_to_spool core_size
coresize cron_day_of_month cron_day_of_week cron_hour cron_minute cron_month cron_prep_time cron_window
cuda_version dag_node_name dagman_job_id dagman_log deferral_prep_time deferral_time deferral_window
delegate_job_gsi_credentials_lifetime description docker_image docker_network_type docker_override_entrypoint
docker_pull_policy docker_send_credentials dont_encrypt_input_files dont_encrypt_output_files
ec2_access_key_id ec2_ami_id ec2_availability_zone ec2_block_device_mapping ec2_ebs_volumes ec2_elastic_ip
ec2_iam_profile_arn ec2_iam_profile_name ec2_instance_type ec2_keypair ec2_keypair_file ec2_parameter_names
ec2_secret_access_key ec2_security_groups ec2_security_ids ec2_spot_price ec2_tag_names ec2_user_data
ec2_user_data_file ec2_vpc_ip ec2_vpc_subnet email_attributes encrypt_execute_directory
encrypt_input_files encrypt_output_files env environment environment2 erase_output_and_error_on_restart error
executable fetch_files file_remaps gce_account gce_auth_file gce_image gce_json_file gce_machine_type
gce_metadata gce_metadata_file gce_preemptible get_env getenv globus_rsl gpus_maximum_capability
gpus_maximum_memory gpus_minimum_capability gpus_minimum_memory gpus_minimum_runtime grid_resource
gs_access_key_id_file gs_secret_access_key_file hold hold_kill_sig hosts image_size input
interactive_executable jar_files java_vm_args java_vm_arguments java_vm_arguments2 job_ad_information_attrs
job_lease_duration job_machine_attrs job_machine_attrs_history_length job_max_vacate_time jobset jobset_name
keep_claim_idle keystore_alias keystore_file keystore_passphrase_file kill_sig kill_sig_timeout
last_match_list_length leave_in_queue load_profile local_files log log_xml loguseXML machine_count manifest
manifest_dir match_list_length materialize_max_idle max_idle max_job_retirement_time max_materialize
max_retries max_transfer_input_mb max_transfer_output_mb min_hosts max_hosts mount_under_scratch
my_proxy_host next_job_start_delay nice_user node_count nodecount noop_job noop_job_exit_code
noop_job_exit_signal nordugrid_rsl notification notify_user on_exit_hold on_exit_hold_reason
on_exit_hold_subcode on_exit_remove output output_destination output_directory parallel_script_shadow
parallel_script_starter periodic_hold periodic_hold_reason periodic_hold_subcode periodic_release
periodic_remove periodic_vacate preferences preserve_relative_paths primary_unix_group prio priority
project_name public_input_files rank remote_initialdir remove_kill_sig rendezvousdir request_cpu request_cpus
request_disk request_gpu request_gpus request_memory require_gpus requirements retry_request_disk
retry_request_memory retry_request_memory_increase retry_request_memory_max retry_until run_as_owner
s3_access_key_id_file s3_secret_access_key_file scitokens_file shell should_transfer_files skip_filechecks
skip_if_dataflow stack_size starter_debug starter_log stderr stdin stdout stream_error stream_input
stream_output submit_event_notes submit_event_notes_attrs submit_event_user_notes success_exit_code
suspend_job_at_exec tool_daemon_args tool_daemon_arguments tool_daemon_arguments2 tool_daemon_cmd
tool_daemon_error tool_daemon_input tool_daemon_output transfer_checkpoint_files transfer_common_input
transfer_container transfer_error transfer_executable transfer_input transfer_input_files transfer_output
transfer_output_files transfer_output_remaps transfer_plugins ulog_execute_attrs universe use_oauth_services
use_scitoken use_scitokens use_x509userproxy vm_checkpoint vm_disk vm_macaddr vm_memory vm_networking
vm_networking_type vm_no_output_vm vm_type vm_vcpus vm_vnc want_graceful_removal want_io_proxy
want_job_networking want_name_tag want_remote_io want_remote_syscalls when_to_transfer_output
x509userproxy x509_user_proxy xen_initrd xen_kernel xen_kernel_params xen_root
"""
KNOWN = frozenset(_TEXT.lower().split())
#: Names of attributes of the job ad that HTCondor accepts as commands, too (23.9 with ``condor_submit -dry-run``),
#: without those that are a command's name without its ``_``.
_ATTRIBUTES_TEXT = """
acctgroupuser cluster dagmannodeslog dagnodename eraseoutputanderroronrestart isnoopjob jobadinformationattrs
jobbatchid jobdescription jobmaterializemaxidle jobmaxretries jobmaxvacatetime jobnotification jobstarterdebug
jobstarterlog jobsuccessexitcode manifestdesired remoteiwd streamin submitfailemptyfields
submitfailemptymatches submitwarnduplicatematches submitwarnemptyfields submitwarnemptymatches
successcheckpointexitcode transfercheckpoint transfererr transferin transferout userlogexecuteeventattrs
userlogusexml wantparallelscheduling
"""
_ATTRIBUTES = frozenset(_ATTRIBUTES_TEXT.split())
#: Prefixes of commands that are followed by a word of the user's choice (request_<resource>, ec2_tag_<name>, …).
PREFIXES = (
    "request_",
    "require_",
    "ec2_tag_",
    "ec2_parameter_",
    "cloud_label_",
    "transform_",
    "env_",
    "submit_",
)
_SUFFIXES = ("_oauth_permissions", "_oauth_resource", "_container_port", "_oauth_options")
#: Commands that conflict with what this package does, with the reason.
REFUSED: dict[str, str] = {
    **dict.fromkeys(
        ("initialdir", "initial_dir", "job_iwd", "iwd"),
        "each job has its own directory, job.initial_dir; set job.workspace instead",
    ),
    "queue": "use num_jobs, or queue= at execute()",
    "leave_in_queue": "jobs stay in the queue until their outputs are fetched",
}
#: The same for attributes of the job ad.
REFUSED_ATTRIBUTES: dict[str, str] = {
    "iwd": REFUSED["iwd"],
    "leavejobinqueue": REFUSED["leave_in_queue"],
    "prefectjobstoken": "prefect-jobs finds jobs by it",
}
#: Other names of commands.
SAME = {
    **{name.replace("_", ""): name for name in KNOWN if "_" in name and name.replace("_", "") not in KNOWN},
    "cmd": "executable",
    "args": "arguments",
    "env": "environment",
    "stdout": "output",
    "stderr": "error",
    "stdin": "input",
    "jobbatchname": "batch_name",
    "jobprio": "priority",
    "jobuniverse": "universe",
    "leavejobinqueue": "leave_in_queue",
    "streamerr": "stream_error",
    "streamout": "stream_output",
}
#: Names from other systems, which HTCondor does not know, and the commands for them.
_MEANT = {
    **dict.fromkeys(("memory", "mem", "ram"), "request_memory"),
    **dict.fromkeys(("cpu", "cpus", "core", "cores", "ncpus", "num_cpus"), "request_cpus"),
    **dict.fromkeys(("gpu", "gpus"), "request_gpus"),
    "disk": "request_disk",
}
#: Suffixes that users add to the name of a resource. HTCondor has the unit in the value: request_memory = 2GB.
_UNIT = re.compile(r"_?(b|kb|kib|mb|mib|gb|gib|tb|tib|m|g|count|num|number|size|limit)$")
#: Similarity from which a name counts as a slip of another one.
_ALIKE = 0.85


def is_attribute(name: str) -> bool:
    """Whether the name sets a job ad attribute directly: ``+Name`` or ``My.Name``."""
    return name.startswith("+") or name.lower().startswith("my.")


def canonical(name: str) -> str:
    """The usual name of a command, in lower case; attributes are unchanged."""
    return name if is_attribute(name) else SAME.get(name.lower(), name.lower())


def is_known(name: str) -> bool:
    """Whether a name is that of a command, or of an attribute that submit files may set without ``+``."""
    lower = name.lower()
    known = canonical(name) in KNOWN or canonical(name) in REFUSED or lower in _ATTRIBUTES
    return known or lower.startswith(PREFIXES) or lower.endswith(_SUFFIXES)


def refusal(name: str) -> str | None:
    """Why a command or attribute is not possible; ``None`` if it is."""
    lower = name.lower()
    if is_attribute(name):
        return REFUSED_ATTRIBUTES.get(lower.removeprefix("+").removeprefix("my."))
    return REFUSED.get(canonical(name))


def unknown_commands(attributes: Mapping[str, str], values: Iterable[str] = ()) -> tuple[dict[str, str], list[str]]:
    """The commands that HTCondor does not know and that nothing uses as a macro.

    Args:
        attributes: command → value, as written in the description.
        values: other texts that may use macros.

    Returns:
        Those that resemble a known command, each with a sentence for people; and the others.
    """
    text = " ".join([*attributes.values(), *values]).lower()
    # $(data$(Process)) uses data0, data1, …
    begun = tuple(set(re.findall(r"\$[a-z_]*\(([a-z_][a-z0-9_.]*)\$", text)))
    slips: dict[str, str] = {}
    others: list[str] = []
    for name in attributes:
        lower = name.lower()
        if is_attribute(name) or canonical(name) in KNOWN or lower in _ATTRIBUTES or lower.endswith(_SUFFIXES):
            continue
        if re.search(rf"\$[a-z_]*\({re.escape(lower)}[:,)]", text) or lower.startswith(begun):
            continue
        meant = _meant(lower)
        if meant is not None:
            slips[name] = f"HTCondor knows no submit command {name!r}; did you mean {meant!r}?"
        elif not lower.startswith(PREFIXES):
            others.append(name)
    return slips, others


def _meant(name: str) -> str | None:
    """The command that a name resembles."""
    for prefix in ("request_", "require_"):
        if name.startswith(prefix):
            # The rest may be a resource of the machine.
            rest = name.removeprefix(prefix)
            known = [other.removeprefix(prefix) for other in KNOWN if other.startswith(prefix)]
            found = _MEANT.get(rest) if prefix == "request_" else None
            words = _UNIT.sub("", rest)
            if found is None and prefix == "request_" and words != rest:
                found = f"request_{words}" if words in known else _MEANT.get(words)
            return found or next((prefix + other for other in _close(rest, known)), None)
    if name.startswith(PREFIXES):
        return None
    return _MEANT.get(name) or next(iter(_close(name, KNOWN)), None)


def _close(name: str, names: Collection[str]) -> list[str]:
    """The names that a name resembles, the most similar first: letters that are wrong, missing or misplaced, or words
    in another order."""
    letters, words = sorted(name.replace("_", "")), sorted(name.split("_"))
    found = [
        other
        for other in sorted(names)
        if sorted(other.replace("_", "")) == letters or ("_" in other and sorted(other.split("_")) == words)
    ]
    return found + difflib.get_close_matches(name, names, n=1, cutoff=_ALIKE)
