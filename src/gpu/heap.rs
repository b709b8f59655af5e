//! How much memory an adapter has. WebGPU does not tell, so the layer below is asked, where there is one that knows.

/// Bytes of the adapter's own memory, or of the memory it shares with the processor; `None` where nobody tells (browsers,
/// Metal, DX12, OpenGL).
#[cfg(all(feature = "cli", any(target_os = "linux", target_os = "windows", target_os = "android")))]
pub(super) fn memory_bytes(handle: &wgpu::Adapter) -> Option<u64> {
    // SAFETY: the adapter is only asked for its properties, and its guard is dropped at once; the raw instance outlives it.
    #[expect(unsafe_code, reason = "Vulkan's own function is the only one that knows")]
    let properties = unsafe {
        let adapter = handle.as_hal::<wgpu::hal::api::Vulkan>()?;
        let instance = adapter.shared_instance().raw_instance();
        instance.get_physical_device_memory_properties(adapter.raw_physical_device())
    };
    // Heaps whose lowest flag is set are local to the device; the largest is its memory.
    let heaps = &properties.memory_heaps[..properties.memory_heap_count as usize];
    heaps.iter().filter(|heap| heap.flags.as_raw() & 1 != 0).map(|heap| heap.size).max()
}

#[cfg(not(all(feature = "cli", any(target_os = "linux", target_os = "windows", target_os = "android"))))]
pub(super) fn memory_bytes(_: &wgpu::Adapter) -> Option<u64> {
    None
}
